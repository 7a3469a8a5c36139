//! Random trees and one random edit: the comparison finds what was done, and nothing else.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rustix::fs::XattrFlags;

use super::*;
use crate::compare::{Comparison, FileKind, Finding, compare};

/// What stands at a path of the model.
#[derive(Debug, Clone, PartialEq)]
enum Model {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Fifo,
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Content,
    Append,
    Mode,
    Mtime,
    Xattr,
    Target,
    Remove,
    Add,
    Replace,
}

const EDITS: [Edit; 9] = [
    Edit::Content,
    Edit::Append,
    Edit::Mode,
    Edit::Mtime,
    Edit::Xattr,
    Edit::Target,
    Edit::Remove,
    Edit::Add,
    Edit::Replace,
];

type Tree = BTreeMap<TreePath, Model>;

fn model() -> impl Strategy<Value = Model> {
    prop_oneof![
        Just(Model::Directory),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Model::File),
        prop::collection::vec(1_u8..=255, 1..10).prop_map(Model::Symlink),
        Just(Model::Fifo),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![b"a".to_vec(), b"a-b".to_vec(), b"b\xff".to_vec(), "蜀".into(), b"\n".to_vec()])
}

/// A tree from a list of wishes; those that contradict earlier ones are dropped.
fn tree() -> impl Strategy<Value = Tree> {
    prop::collection::vec((prop::collection::vec(name(), 1..4), model()), 1..12).prop_map(|wishes| {
        let mut tree = Tree::from([(TreePath::root(), Model::Directory)]);
        for (names, model) in wishes {
            let path = tree_path(names.join(&b'/'));
            let mut above = path.parent();
            let mut missing = Vec::new();
            while let Some(directory) = above {
                above = directory.parent();
                missing.push(directory);
            }
            let fits =
                missing.iter().all(|path| tree.get(path).is_none_or(|model| *model == Model::Directory));
            if fits && !tree.contains_key(&path) {
                tree.extend(missing.into_iter().map(|path| (path, Model::Directory)));
                tree.insert(path, model);
            }
        }
        tree
    })
}

fn place(top: &Path, path: &TreePath) -> PathBuf {
    top.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn make(place: &Path, model: &Model) {
    match model {
        Model::Directory if place.is_dir() => {}
        Model::Directory => std::fs::create_dir(place).unwrap(),
        Model::File(content) => std::fs::write(place, content).unwrap(),
        Model::Symlink(target) => symlink(std::ffi::OsStr::from_bytes(target), place).unwrap(),
        Model::Fifo => rustix::fs::mkfifoat(CWD, place, Mode::from(0o600)).unwrap(),
    }
}

fn kind(model: &Model) -> FileKind {
    match model {
        Model::Directory => FileKind::Directory,
        Model::File(_) => FileKind::File,
        Model::Symlink(_) => FileKind::Symlink,
        Model::Fifo => FileKind::Fifo,
    }
}

/// What an edit of a path did: the words of the differences it must show, by path.
type Shown = Vec<(TreePath, &'static str)>;

/// Makes `edit` at `path`, if it can be made there.
fn apply(top: &Path, tree: &Tree, path: &TreePath, edit: Edit) -> Option<Shown> {
    let (at, model) = (place(top, path), &tree[path]);
    let one = |word| Some(vec![(path.clone(), word)]);
    match (edit, model) {
        (Edit::Content, Model::File(content)) if !content.is_empty() => {
            let other: Vec<u8> = content.iter().map(|byte| !byte).collect();
            std::fs::write(&at, other).unwrap();
            set_mtime(&at, MTIME);
            one("content")
        }
        (Edit::Append, Model::File(content)) => {
            std::fs::write(&at, [content, &b"!"[..]].concat()).unwrap();
            set_mtime(&at, MTIME);
            Some(vec![(path.clone(), "size"), (path.clone(), "content")])
        }
        (Edit::Mode, Model::Directory | Model::File(_) | Model::Fifo) => {
            set_mode(&at, 0o711);
            one("mode")
        }
        (Edit::Mtime, _) => {
            set_mtime(&at, FileTime { nanos: MTIME.nanos + 1, ..MTIME });
            one("mtime")
        }
        (Edit::Xattr, Model::Directory | Model::File(_)) => {
            rustix::fs::setxattr(&at, "user.edit", b"x", XattrFlags::empty()).unwrap();
            one("xattr")
        }
        (Edit::Target, Model::Symlink(target)) => {
            std::fs::remove_file(&at).unwrap();
            make(&at, &Model::Symlink([target, &b"x"[..]].concat()));
            set_mtime(&at, MTIME);
            one("target")
        }
        (Edit::Add, Model::Directory) => {
            std::fs::write(at.join("new"), "").unwrap();
            Some(vec![(path.join(b"new"), "extra")])
        }
        (Edit::Remove | Edit::Replace, _) if !path.is_root() => {
            if *model == Model::Directory {
                std::fs::remove_dir_all(&at).unwrap();
            } else {
                std::fs::remove_file(&at).unwrap();
            }
            let gone =
                tree.keys().filter(|other| other.is_within(path)).map(|other| (other.clone(), "missing"));
            let mut shown: Shown = gone.collect();
            if matches!(edit, Edit::Replace) {
                let other = if kind(model) == FileKind::Fifo { Model::File(vec![]) } else { Model::Fifo };
                make(&at, &other);
                shown[0].1 = "type";
            }
            Some(shown)
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn one_edit_shows_as_what_it_is(tree in tree(), pick: prop::sample::Index, edit in prop::sample::select(&EDITS[..])) {
        let top = tempfile::tempdir().unwrap();
        tree.iter().for_each(|(path, model)| make(&place(top.path(), path), model));
        tree.keys().rev().for_each(|path| set_mtime(&place(top.path(), path), MTIME));

        let before = entries(top.path());
        let read: Vec<_> = before.iter().map(|portable| (&portable.path, FileKind::of(&portable.node))).collect();
        let built: Vec<_> = tree.iter().map(|(path, model)| (path, kind(model))).collect();
        prop_assert_eq!(read, built);

        let paths: Vec<_> = tree.keys().collect();
        let path = *pick.get(&paths);
        let shown = apply(top.path(), &tree, path, edit).unwrap_or_default();
        // Entries come and go: the directory's own time is put back, so that only the edit shows.
        if let Some(parent) = path.parent() {
            set_mtime(&place(top.path(), &parent), MTIME);
        }
        if matches!(edit, Edit::Add) && tree[path] == Model::Directory {
            set_mtime(&place(top.path(), path), MTIME);
        }

        let live = LiveTree::read(&[top.path()], &LiveOptions::default()).unwrap();
        let found: Shown = compare(before.into_iter().map(Ok), live, Comparison::default(), |_| Ok(()))
            .map(|finding| match finding.unwrap() {
                Finding::Differs(difference) => (difference.path, difference.kind.word()),
                other => panic!("{other}"),
            })
            .collect();
        prop_assert_eq!(found, shown);
    }
}
