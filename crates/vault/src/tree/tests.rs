//! Trees against models of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::node::TreeNode;
use super::samples::*;
use super::*;
use crate::entry::{Entry, FileTime, TreePath, Xattr, XattrValue};
use crate::roots::RootHasher;

fn read_all(nodes: &Nodes, tree: &TreeSummary) -> (Vec<Entry>, Vec<Gap>) {
    let mut stream = EntryStream::open(nodes, tree.root, tree.level);
    let (mut entries, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match block_on(stream.next()) {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return (entries, gaps),
            Err(error) => {
                assert!(is_loss(&error), "{error}");
                gaps.push(stream.gap().unwrap().clone());
            }
        }
    }
}

/// Every node of a tree in order, leaves included.
fn all_nodes(nodes: &Nodes, tree: &TreeSummary) -> Vec<NodeRef> {
    let mut stream = super::nodes(nodes, tree.root, tree.level);
    block_on(async {
        let mut all = Vec::new();
        while let Some(node) = stream.next().await.unwrap() {
            all.push(node);
        }
        all
    })
}

fn digests(nodes: &Nodes, tree: &TreeSummary) -> BTreeSet<Digest> {
    all_nodes(nodes, tree).into_iter().map(|node| node.digest).collect()
}

fn all_changes(nodes: &Nodes, a: &TreeSummary, b: &TreeSummary) -> Vec<Step> {
    let mut diff = diff(nodes, (a.root, a.level), (b.root, b.level));
    block_on(async {
        let mut steps = Vec::new();
        while let Some(step) = diff.next_step().await.unwrap() {
            steps.push(step);
        }
        steps
    })
}

fn expected_changes(a: &Model, b: &Model) -> Vec<Change> {
    let paths: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let change = |path| match (a.get(path), b.get(path)) {
        (Some(before), Some(after)) if before != after => {
            Some(Change::Changed { before: Box::new(before.clone()), after: Box::new(after.clone()) })
        }
        (Some(before), None) => Some(Change::Removed(before.clone())),
        (None, Some(after)) => Some(Change::Added(after.clone())),
        _ => None,
    };
    paths.into_iter().filter_map(change).collect()
}

fn check_diff(a: &Model, b: &Model) -> usize {
    let mut nodes = Nodes::default();
    let (before, after) = (build(a, &mut nodes), build(b, &mut nodes));
    let (in_before, in_after) = (digests(&nodes, &before), digests(&nodes, &after));
    nodes.take_reads();
    let (mut changes, mut removed, mut added) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for step in all_changes(&nodes, &before, &after) {
        match step {
            Step::Change(change) => changes.push(*change),
            Step::Node(Side::Before, node) => assert!(removed.insert(node.digest)),
            Step::Node(Side::After, node) => assert!(added.insert(node.digest)),
        }
    }
    assert_eq!(changes, expected_changes(a, b));
    assert_eq!(removed, in_before.difference(&in_after).copied().collect());
    assert_eq!(added, in_after.difference(&in_before).copied().collect());
    nodes.take_reads().len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_tree_gives_back_its_entries_and_its_roots(model in any_model(300)) {
        let mut nodes = Nodes::default();
        let tree = build(&model, &mut nodes);
        let (entries, gaps) = read_all(&nodes, &tree);
        prop_assert_eq!(gaps, vec![]);
        prop_assert_eq!(&entries, &model.values().cloned().collect::<Vec<_>>());
        let mut hasher = RootHasher::new();
        for entry in &entries {
            hasher.push(&entry.portable).unwrap();
        }
        let roots = hasher.finish();
        prop_assert_eq!((roots.manifest, roots.content), (tree.manifest_root, tree.content_root));
        let bytes = entries.iter().fold(0, |sum, entry| u64::saturating_add(sum, entry.size()));
        prop_assert_eq!((tree.entries, tree.bytes), (entries.len() as u64, bytes));
        prop_assert_eq!(tree.nodes, all_nodes(&nodes, &tree).len() as u64);
    }

    #[test]
    fn seek_skip_and_lookup_agree_with_the_model(
        model in any_model(300),
        wanted in proptest::collection::vec(any_path(), 1..20),
    ) {
        let mut nodes = Nodes::default();
        let tree = build(&model, &mut nodes);
        for path in &wanted {
            let found = block_on(lookup(&nodes, tree.root, tree.level, path)).unwrap();
            prop_assert_eq!(found.as_ref(), model.get(path));

            let mut stream = EntryStream::open(&nodes, tree.root, tree.level);
            stream.seek(path);
            let next = block_on(stream.next()).unwrap();
            prop_assert_eq!(next.as_ref(), model.range(path..).next().map(|(_, entry)| entry));
            stream.seek(&TreePath::root());
            stream.skip_within(path);
            stream.seek(path);
            let next = block_on(stream.next()).unwrap();
            let mut after = model.range(path..).skip(1).map(|(_, entry)| entry);
            prop_assert_eq!(next.as_ref(), after.find(|entry| !entry.path().is_within(path)));
        }
    }

    #[test]
    fn diff_finds_every_change_and_opens_exactly_the_nodes_that_differ(
        a in any_model(300),
        b in any_model(300),
        edits in proptest::collection::vec((any_path(), any::<u64>()), 0..8),
    ) {
        check_diff(&a, &b);
        check_diff(&a, &a);
        let mut edited = a.clone();
        for (path, seed) in edits {
            if seed % 3 == 0 {
                edited.retain(|other, _| !other.is_within(&path));
            } else {
                insert(&mut edited, path, seed);
            }
        }
        check_diff(&a, &edited);
        check_diff(&edited, &a);
    }
}

#[test]
fn a_change_of_metadata_changes_only_the_nodes_above_it() {
    let mut model = large_model(6000);
    let mut nodes = Nodes::default();
    let before = build(&model, &mut nodes);
    assert!(before.level >= 2);
    let wanted = path("directory 5/of files/file number 5");
    let entry = model.get_mut(&wanted).unwrap();
    entry.portable.mtime = FileTime { seconds: -1, nanos: 7 };
    entry.portable.mode ^= 0o111;
    let after = build(&model, &mut nodes);
    let (old, new) = (digests(&nodes, &before), digests(&nodes, &after));
    assert_eq!(new.difference(&old).count(), usize::from(after.level) + 1);
    let places =
        |tree| all_nodes(&nodes, tree).into_iter().map(|node| (node.level, node.first)).collect::<Vec<_>>();
    assert_eq!(places(&before), places(&after));
    assert_ne!(before.manifest_root, after.manifest_root);
    assert_eq!(before.content_root, after.content_root);
}

#[test]
fn leaves_and_branches_have_about_four_kib() {
    let mut nodes = Nodes::default();
    let model = large_model(6000);
    build(&model, &mut nodes);
    let sizes: Vec<usize> = nodes.nodes.values().map(Vec::len).collect();
    let average = sizes.iter().sum::<usize>() / sizes.len();
    assert!((2500..9000).contains(&average), "{average}");
    assert!(sizes.iter().all(|size| *size <= 64 << 10));
}

#[test]
fn a_diff_of_large_trees_reads_little() {
    let a = large_model(6000);
    let mut b = a.clone();
    insert(&mut b, path("directory 5/of files/a new one"), 1);
    b.remove(&path("directory 95/of files/file number 95"));
    b.remove(&a.keys().find(|path| path.as_bytes().len() > 30).unwrap().clone());
    let reads = check_diff(&a, &b);
    assert!(reads < 40, "{reads} nodes read");
}

#[test]
fn a_lost_node_costs_its_own_paths_and_one_error() {
    let model = large_model(3000);
    let mut nodes = Nodes::default();
    let tree = build(&model, &mut nodes);
    let all = all_nodes(&nodes, &tree);
    for lost in all.iter().step_by(7).chain(all.iter().filter(|node| node.level > 0)) {
        nodes.lost = BTreeSet::from([lost.digest]);
        let (entries, gaps) = read_all(&nodes, &tree);
        let [gap] = &gaps[..] else { panic!("{} gaps", gaps.len()) };
        assert_eq!(gap.node, *lost);
        let in_gap =
            |path: &TreePath| *path >= lost.first && gap.until.as_ref().is_none_or(|until| path < until);
        let expected: Vec<_> = model.values().filter(|entry| !in_gap(entry.path())).cloned().collect();
        assert!(expected.len() < model.len());
        assert_eq!(entries, expected);
    }
}

#[test]
fn a_source_that_is_busy_costs_no_entry() {
    let model = large_model(300);
    let mut nodes = Nodes::default();
    let tree = build(&model, &mut nodes);
    nodes.is_flaky = true;
    let mut stream = EntryStream::open(&nodes, tree.root, tree.level);
    let (mut entries, mut refusals) = (Vec::new(), 0);
    loop {
        match block_on(stream.next()) {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => break,
            Err(error) => {
                assert!(error.is_retryable());
                refusals += 1;
            }
        }
    }
    assert_eq!(refusals, tree.nodes);
    assert_eq!(entries, model.into_values().collect::<Vec<_>>());
}

#[test]
fn readers_can_move_between_threads() {
    fn is_send(_: impl Send) {}
    let nodes = std::sync::Arc::new(Nodes::default());
    let mut stream = EntryStream::open(nodes.clone(), Digest::default(), 0);
    is_send(stream.next());
    let mut diff = diff(nodes.clone(), (Digest::default(), 0), (Digest::default(), 0));
    is_send(diff.next());
    is_send(walk_nodes(nodes, Digest::default(), 0, &mut Visitor::default()));
}

#[test]
fn a_damaged_node_is_lost_too_and_the_error_says_what_is() {
    let mut nodes = Nodes::default();
    let tree = build(&large_model(300), &mut nodes);
    let leaf = all_nodes(&nodes, &tree).into_iter().find(|node| node.level == 0).unwrap();
    nodes.nodes.get_mut(&leaf.digest).unwrap()[9] ^= 1;
    let mut stream = EntryStream::open(&nodes, tree.root, tree.level);
    let error = block_on(stream.next()).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.to_string().contains("entries from \"\" up to \""), "{error}");
    assert!(block_on(stream.next()).unwrap().is_some());
}

#[test]
fn a_diff_says_nothing_about_paths_that_are_lost_on_either_side() {
    let a = large_model(2000);
    let mut b = a.clone();
    for entry in b.values_mut() {
        entry.portable.mtime.seconds ^= 1;
    }
    let mut nodes = Nodes::default();
    let (before, after) = (build(&a, &mut nodes), build(&b, &mut nodes));
    let all: Vec<_> = [&before, &after].into_iter().flat_map(|tree| all_nodes(&nodes, tree)).collect();
    let expected = expected_changes(&a, &b);
    for lost in all.iter().step_by(5) {
        nodes.lost = BTreeSet::from([lost.digest]);
        let mut diff = diff(&nodes, (before.root, before.level), (after.root, after.level));
        let (mut found, mut errors) = (Vec::new(), 0);
        loop {
            match block_on(diff.next()) {
                Ok(Some(change)) => found.push(change),
                Ok(None) => break,
                Err(_) => errors += 1,
            }
        }
        assert_eq!(errors, 1);
        let (_, gap) = diff.gap().unwrap();
        let known =
            |path: &TreePath| *path < gap.node.first || gap.until.as_ref().is_some_and(|until| path >= until);
        let expected: Vec<_> = expected.iter().filter(|change| known(change.path())).cloned().collect();
        assert_eq!(found, expected);
    }
}

#[derive(Default)]
struct Visitor {
    entries: usize,
    lost: Vec<Gap>,
    entered: Vec<NodeRef>,
}

impl NodeVisitor for Visitor {
    fn enter(&mut self, node: &NodeRef) -> Walk {
        self.entered.push(node.clone());
        Walk::Enter
    }

    fn leaf(&mut self, _: &NodeRef, entries: &[Entry]) {
        self.entries += entries.len();
    }

    fn lost(&mut self, gap: &Gap, _: Error) {
        self.lost.push(gap.clone());
    }
}

#[test]
fn a_walk_sees_every_node_and_goes_on_after_lost_ones() {
    let model = large_model(1000);
    let mut nodes = Nodes::default();
    let tree = build(&model, &mut nodes);
    let mut visitor = Visitor::default();
    block_on(walk_nodes(&nodes, tree.root, tree.level, &mut visitor)).unwrap();
    assert_eq!(visitor.entries, model.len());
    assert_eq!(visitor.entered, all_nodes(&nodes, &tree));

    let leaves: Vec<_> = visitor.entered.iter().filter(|node| node.level == 0).cloned().collect();
    nodes.lost = leaves.iter().step_by(2).map(|node| node.digest).collect();
    let mut visitor = Visitor::default();
    block_on(walk_nodes(&nodes, tree.root, tree.level, &mut visitor)).unwrap();
    assert_eq!(visitor.lost.len(), nodes.lost.len());
    assert!(visitor.entries < model.len() && visitor.entries > 0);
}

#[test]
fn a_node_in_the_wrong_place_is_damaged() {
    let mut nodes = Nodes::default();
    let tree = build(&large_model(500), &mut nodes);
    let TreeNode::Branch { level, children } = TreeNode::decode(&nodes.nodes[&tree.root]).unwrap() else {
        panic!("the root is a leaf")
    };
    assert!(children.len() > 3);
    let check = |nodes: &mut Nodes, children: Vec<Child>, what: &str| {
        let node = TreeNode::Branch { level, children }.encode().unwrap();
        let root = Digest::of(&node);
        nodes.put_node(root, node).unwrap();
        let mut stream = EntryStream::open(&*nodes, root, level);
        let mut errors = 0;
        loop {
            match block_on(stream.next()) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Damaged);
                    errors += 1;
                }
            }
        }
        assert!(errors > 0, "{what}");
    };
    let changed = |change: &dyn Fn(&mut Vec<Child>)| {
        let mut children = children.clone();
        change(&mut children);
        children
    };
    check(&mut nodes, changed(&|all| all[1].entries += 1), "wrong number of entries");
    check(&mut nodes, changed(&|all| all[1].bytes ^= 1), "wrong size");
    check(&mut nodes, changed(&|all| all[1].digest = all[2].digest), "another node");
    check(&mut nodes, changed(&|all| all[0].digest = tree.root), "a node of another level");
    check(&mut nodes, changed(&|all| all.truncate(1)), "a root with one child");
    check(&mut nodes, changed(&|all| drop(all.remove(0))), "no root directory");
    let early = TreePath::new([all_but_last(&children[2].first), b"\x01"].concat()).unwrap();
    check(&mut nodes, changed(&|all| all[2].first = early.clone()), "wrong first path");
}

fn all_but_last(path: &TreePath) -> &[u8] {
    let bytes = path.as_bytes();
    &bytes[..bytes.len() - 1]
}

#[test]
fn entries_out_of_order_or_in_no_directory_are_refused() {
    let file = |text: &str| fifo(path(text));
    let directory = |text: &str| model([(path("a/x"), 0)])[&path(text)].clone();
    let cases: [(&str, Vec<Entry>); 6] = [
        ("no root", vec![file("a")]),
        ("twice", vec![directory(""), file("a"), file("a")]),
        ("backwards", vec![directory(""), file("b"), file("a")]),
        ("by byte, not by component", vec![directory(""), directory("a"), file("a-b"), file("a/b")]),
        ("in a file", vec![directory(""), file("a"), file("a/b")]),
        ("in nothing", vec![directory(""), directory("a"), file("a/b/c")]),
    ];
    for (what, entries) in cases {
        let mut nodes = Nodes::default();
        let mut builder = TreeBuilder::new(&KEY);
        let (last, first) = entries.split_last().unwrap();
        for entry in first {
            builder.push(entry, &mut nodes).unwrap();
        }
        assert_eq!(builder.push(last, &mut nodes).unwrap_err().kind(), Kind::Bug, "{what}");
    }
}

#[test]
fn an_entry_that_is_too_large_is_refused_and_the_builder_goes_on() {
    let mut model = model([(path("a"), 5), (path("b"), 5), (path("c"), 5)]);
    let value = XattrValue::Inline(vec![0; 4096]);
    let heavy = |count: usize| -> Vec<Xattr> {
        let xattr = |i| Xattr { name: format!("user.{i:03}").into_bytes(), value: value.clone() };
        (0..count).map(xattr).collect()
    };
    model.get_mut(&path("a")).unwrap().portable.xattrs = heavy(250);
    model.get_mut(&path("b")).unwrap().portable.xattrs = heavy(256);
    let mut nodes = Nodes::default();
    let mut builder = TreeBuilder::new(&KEY);
    for (at, entry) in &model {
        let pushed = builder.push(entry, &mut nodes);
        match at.as_bytes() {
            b"b" => assert_eq!(pushed.unwrap_err().kind(), Kind::Input),
            _ => pushed.unwrap(),
        }
    }
    let tree = builder.finish(&mut nodes).unwrap();
    model.remove(&path("b"));
    let (entries, gaps) = read_all(&nodes, &tree);
    assert_eq!((entries, gaps), (model.into_values().collect(), vec![]));
}
