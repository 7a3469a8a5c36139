//! Nodes and entries as bytes.

use proptest::prelude::*;

use super::samples::*;
use super::*;
use crate::entry::{Entry, Extents, Node, TreePath, Xattr, XattrValue};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_node_has_one_encoding_and_damage_never_panics(
        model in any_model(40),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut nodes = Nodes::default();
        build(&model, &mut nodes);
        for node in nodes.nodes.values() {
            prop_assert_eq!(&TreeNode::decode(node).unwrap().encode().unwrap(), node);
            prop_assert!(TreeNode::decode(&node[..cut.index(node.len())]).is_err());
            let mut damaged = node.clone();
            for (place, value) in &flips {
                let place = place.index(damaged.len());
                damaged[place] = *value;
            }
            if let Ok(decoded) = TreeNode::decode(&damaged) {
                prop_assert_eq!(decoded.encode().unwrap(), damaged);
            }
        }
    }

    #[test]
    fn junk_is_refused_without_panic(mut junk: Vec<u8>, level in 0u8..3) {
        if junk.len() >= 2 {
            (junk[0], junk[1]) = (1, level);
        }
        if let Ok(node) = TreeNode::decode(&junk) {
            prop_assert_eq!(node.encode().unwrap(), junk);
        }
    }
}

#[test]
fn very_long_paths_still_make_a_tree_and_small_nodes_expand_to_little() {
    let deep = vec!["d".repeat(250); 200].join("/");
    let model = model((0..40).map(|i| (path(&format!("{deep}/{i}")), i)));
    let mut nodes = Nodes::default();
    let tree = build(&model, &mut nodes);
    let mut stream = EntryStream::open(&nodes, tree.root, tree.level);
    for entry in model.values() {
        assert!(block_on(stream.next()).unwrap().as_ref() == Some(entry));
    }
    for node in nodes.nodes.values() {
        let paths: usize = match TreeNode::decode(node).unwrap() {
            TreeNode::Leaf(entries) if entries.len() > 1 => {
                entries.iter().map(|e| e.path().as_bytes().len()).sum()
            }
            TreeNode::Branch { children, .. } if children.len() > 2 => {
                children.iter().map(|child| child.first.as_bytes().len()).sum()
            }
            _ => 0,
        };
        assert!(paths <= NODE_WEIGHT_MAX);
    }
}

type Spoil<'a> = &'a dyn Fn(&mut Entry);

#[test]
fn entries_that_break_a_rule_are_neither_written_nor_read() {
    let good = || {
        let mut entry = fifo(path("b"));
        entry.portable.node = Node::File { size: 3, digest: Digest::of(b"abc") };
        entry.local.extents = Extents::Inline(vec![crate::entry::Extent::Hole { length: 3 }]);
        entry
    };
    assert!(entry_codec::encode_parts(&good()).is_ok());
    let xattr = |name: &[u8]| Xattr { name: name.to_vec(), value: XattrValue::Inline(Vec::new()) };
    let cases: [(&str, Spoil); 14] = [
        ("mode", &|e| e.portable.mode = 0o10000),
        ("mtime", &|e| e.portable.mtime.nanos = 1_000_000_000),
        ("ctime", &|e| e.local.ctime.nanos = 1_000_000_000),
        ("xattr order", &|e| e.portable.xattrs = vec![xattr(b"user.b"), xattr(b"user.a")]),
        ("xattr twice", &|e| e.portable.xattrs = vec![xattr(b"user.a"), xattr(b"user.a")]),
        ("xattr without name", &|e| e.portable.xattrs = vec![xattr(b"")]),
        ("short value as chunk", &|e| {
            let value = XattrValue::Chunk { digest: Digest::default(), length: 4096 };
            e.portable.xattrs = vec![Xattr { name: b"user.a".to_vec(), value }];
        }),
        ("link to itself", &|e| e.portable.first_link = Some(path("b"))),
        ("link to the root", &|e| e.portable.first_link = Some(TreePath::root())),
        ("no extents", &|e| e.local.extents = Extents::default()),
        ("empty extent", &|e| {
            let holes = [3, 0].map(|length| crate::entry::Extent::Hole { length });
            e.local.extents = Extents::Inline(holes.to_vec());
        }),
        ("long inline list", &|e| {
            let hole = crate::entry::Extent::Hole { length: 1 };
            e.portable.node = Node::File { size: 17, digest: Digest::default() };
            e.local.extents = Extents::Inline(vec![hole; 17]);
        }),
        ("short list", &|e| {
            e.portable.node = Node::File { size: 17, digest: Digest::default() };
            e.local.extents = Extents::Listed { root: Digest::default(), count: 16 };
        }),
        ("empty target", &|e| e.portable.node = Node::Symlink { target: Vec::new() }),
    ];
    for (what, spoil) in cases {
        let mut bad = good();
        spoil(&mut bad);
        assert_eq!(entry_codec::encode_parts(&bad).unwrap_err().kind(), Kind::Bug, "{what}");
    }
}
