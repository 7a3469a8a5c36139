use shudao_vault::entry::{FileTime, Node, Xattr, XattrValue};
use shudao_vault::id::Digest;

use super::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn entry(text: &str, node: Node) -> Portable {
    let mtime = FileTime { seconds: 1_700_000_000, nanos: 5 };
    Portable {
        path: path(text),
        node,
        mode: 0o644,
        uid: 1,
        gid: 2,
        mtime,
        xattrs: Vec::new(),
        first_link: None,
    }
}

fn file(text: &str) -> Portable {
    entry(text, Node::File { size: 3, digest: Digest::of(b"abc") })
}

fn changed(text: &str, change: impl FnOnce(&mut Portable)) -> Portable {
    let mut portable = file(text);
    change(&mut portable);
    portable
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.into(), value: XattrValue::Inline(value.to_vec()) }
}

fn link(target: &str) -> Portable {
    entry("p", Node::Symlink { target: target.into() })
}

fn device(minor: u32) -> Portable {
    entry("p", Node::CharDevice { major: 1, minor })
}

fn check(expected: Vec<Portable>, live: Vec<Live>, unread: &[&str]) -> (Vec<String>, Counts) {
    let comparison =
        Comparison { unread: unread.iter().map(|text| path(text)).collect(), ..Comparison::default() };
    let mut compare = compare(expected.into_iter().map(Ok), live, comparison, |_| Ok(()));
    let findings = compare.by_ref().map(|finding| finding.unwrap().to_string()).collect();
    (findings, compare.counts())
}

fn skipped(text: &str, why: Skipped) -> Live {
    Live::Skipped { path: path(text), why }
}

fn not_read(text: &str, why: NotRead) -> Live {
    Live::NotRead { path: path(text), why }
}

#[test]
fn each_aspect_is_reported_by_name() {
    let with_xattr = |value: &[u8]| changed("p", |p| p.xattrs = vec![xattr("user.a", value)]);
    let with_link = |first: &str| changed("p", |p| p.first_link = Some(path(first)));
    let content =
        |bytes: &[u8]| entry("p", Node::File { size: bytes.len() as u64, digest: Digest::of(bytes) });
    for (expected, found, words, text) in [
        (
            file("p"),
            entry("p", Node::Fifo),
            &["type"][..],
            "p: type differs: expected a file, found a named pipe",
        ),
        (
            content(b"abc"),
            content(b"abd"),
            &["content"],
            "p: content differs: expected digest 6437b3ac…, found 90bfae30…",
        ),
        (content(b"abc"), content(b"ab"), &["size", "content"], "p: size differs: expected 3 bytes, found 2"),
        (link("to"), link("蜀\n"), &["target"], "p: link target differs: expected \"to\", found \"蜀\\n\""),
        (device(3), device(5), &["device"], "p: device differs: expected 1:3, found 1:5"),
        (
            file("p"),
            changed("p", |p| p.mode = 0o4755),
            &["mode"],
            "p: mode differs: expected 0644, found 4755",
        ),
        (file("p"), changed("p", |p| p.gid = 7), &["owner"], "p: owner differs: expected 1:2, found 1:7"),
        (
            file("p"),
            changed("p", |p| p.mtime.nanos = 6),
            &["mtime"],
            "p: modification time differs: expected @1700000000.000000005, found @1700000000.000000006",
        ),
        (
            with_xattr(b"1"),
            with_xattr(b"2"),
            &["xattr"],
            "p: extended attribute \"user.a\" has another value",
        ),
        (with_xattr(b"1"), file("p"), &["xattr"], "p: extended attribute \"user.a\" is missing"),
        (file("p"), with_xattr(b"1"), &["xattr"], "p: extended attribute \"user.a\" was not expected"),
        (with_link("a"), file("p"), &["link"], "p: hard link lost: expected the same file as a"),
        (file("p"), with_link("a"), &["link"], "p: hard link not expected: found the same file as a"),
        (
            with_link("a"),
            with_link("b"),
            &["link"],
            "p: hard link differs: expected the same file as a, found the same as b",
        ),
        (file("p"), file("p"), &[], ""),
    ] {
        let found = differences(&expected, &found, Aspects::MANIFEST);
        assert_eq!(
            found.iter().map(|difference| difference.kind.word()).collect::<Vec<_>>(),
            words,
            "{text}"
        );
        assert_eq!(found.first().map(ToString::to_string).unwrap_or_default(), text);
    }
}

#[test]
fn content_alone_is_path_type_size_digest_and_target() {
    let all = |p: &mut Portable| {
        p.mode = 0;
        p.uid = 9;
        p.mtime.seconds = 0;
        p.xattrs = vec![xattr("user.a", b"")];
        p.first_link = Some(path("a"));
    };
    assert_eq!(differences(&file("p"), &changed("p", all), Aspects::CONTENT), []);
    assert_eq!(differences(&file("p"), &changed("p", all), Aspects::MANIFEST).len(), 5);
    assert_eq!(differences(&device(3), &device(5), Aspects::CONTENT), []);
    assert_eq!(differences(&link("a"), &link("b"), Aspects::CONTENT).len(), 1);
}

#[test]
fn missing_and_extra_paths_are_told_apart_in_path_order() {
    let directory = |text| entry(text, Node::Directory);
    let expected = vec![directory(""), directory("a"), file("a/x"), file("a-b"), file("c")];
    let live = [directory(""), directory("a"), file("a/y"), file("a-b"), file("b")].map(Live::Entry).to_vec();
    let (findings, counts) = check(expected, live, &[]);
    assert_eq!(
        findings,
        [
            "a/x: missing: the snapshot has a file here",
            "a/y: extra: the snapshot has nothing here, found a file",
            "b: extra: the snapshot has nothing here, found a file",
            "c: missing: the snapshot has a file here",
        ]
    );
    assert_eq!(counts, Counts { expected: 5, live: 5, equal: 3, missing: 2, extra: 2, ..Counts::default() });
    assert!(!counts.is_equal() && counts.is_complete());
}

#[test]
fn what_the_backup_did_not_read_is_not_extra() {
    let live = ["a", "a/x", "a/y", "ab"].map(|text| Live::Entry(file(text))).to_vec();
    let (findings, counts) = check(vec![], live, &["a", "0"]);
    assert_eq!(
        findings,
        [
            "0: not compared: the backup did not read it",
            "a: not compared: the backup did not read it",
            "ab: extra: the snapshot has nothing here, found a file",
        ]
    );
    assert_eq!((counts.not_compared, counts.extra), (3, 1));
}

#[test]
fn what_both_sides_have_is_compared_even_where_something_was_not_read() {
    let live = vec![Live::Entry(changed("a", |p| p.mode = 0)), Live::Entry(file("a/x"))];
    let (findings, counts) = check(vec![file("a")], live, &["a"]);
    assert_eq!(
        findings,
        ["a: not compared: the backup did not read it", "a: mode differs: expected 0644, found 0000"]
    );
    assert_eq!((counts.different, counts.not_compared), (1, 1));
}

#[test]
fn what_cannot_be_read_now_is_not_missing() {
    let expected = ["a", "a/x", "a/y", "b", "c"].map(file).to_vec();
    let live = vec![
        not_read("a", NotRead::Refused { doing: "open the directory", errno: 13 }),
        Live::Entry(file("b")),
    ];
    let (findings, counts) = check(expected, live, &[]);
    assert_eq!(
        findings,
        [
            "a: not compared: cannot open the directory: Permission denied (os error 13)",
            "c: missing: the snapshot has a file here",
        ]
    );
    assert_eq!((counts.not_read, counts.not_compared, counts.missing, counts.equal), (1, 3, 1, 1));
}

#[test]
fn what_rules_leave_out_is_told_only_where_the_snapshot_has_it() {
    let directory = |text| entry(text, Node::Directory);
    let expected = vec![directory("mnt"), file("mnt/x"), file("mnt/y"), file("sock")];
    let live = vec![
        skipped("excluded", Skipped::Excluded),
        Live::Entry(directory("mnt")),
        skipped("mnt", Skipped::OtherFileSystem),
        skipped("other", Skipped::Socket),
        skipped("sock", Skipped::Socket),
    ];
    let (findings, counts) = check(expected, live, &[]);
    assert_eq!(
        findings,
        [
            "mnt: not compared: lies on another file system",
            "sock: type differs: expected a file, found a socket"
        ]
    );
    assert_eq!(
        counts,
        Counts {
            expected: 4,
            live: 1,
            equal: 1,
            different: 1,
            not_compared: 2,
            skipped: 4,
            ..Counts::default()
        }
    );
}

#[test]
fn every_live_entry_is_seen_once_and_in_order() {
    let mut seen = Vec::new();
    let live = ["a", "b", "c"].map(|text| Live::Entry(file(text)));
    let expected = ["b", "d"].map(file).map(Ok);
    let findings = compare(expected, live, Comparison::default(), |portable| {
        seen.push(portable.path.clone());
        Ok(())
    })
    .count();
    assert_eq!((findings, seen), (3, ["a", "b", "c"].map(path).to_vec()));
}

#[test]
fn a_snapshot_that_cannot_be_read_ends_the_comparison() {
    let expected = vec![Ok(file("a")), Err(Error::damaged("read pack 12ab")), Ok(file("c"))];
    let live = ["a", "b", "c", "d"].map(|text| Live::Entry(file(text)));
    let findings: Vec<_> = compare(expected, live, Comparison::default(), |_| Ok(())).collect();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].as_ref().unwrap_err().kind(), Kind::Damaged);
}

#[test]
fn streams_out_of_order_are_errors_and_not_differences() {
    for (expected, live, kind) in [
        (&["b", "a"][..], &["a", "b"][..], Kind::Damaged),
        (&["a", "a"], &["a"], Kind::Damaged),
        (&["a", "b"], &["b", "a"], Kind::Bug),
        (&["a"], &["a", "a"], Kind::Bug),
    ] {
        let expected = expected.iter().map(|text| Ok(file(text)));
        let live = live.iter().map(|text| Live::Entry(file(text)));
        let last = compare(expected, live, Comparison::default(), |_| Ok(())).last().unwrap();
        assert_eq!(last.unwrap_err().kind(), kind);
    }
}

#[test]
fn an_error_of_the_observer_ends_the_comparison() {
    let live = ["a", "b"].map(|text| Live::Entry(file(text)));
    let fail = |_: &Portable| Err(Error::new(Kind::Bug, "hash entry"));
    let findings: Vec<_> = compare([], live, Comparison::default(), fail).collect();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].as_ref().unwrap_err().kind(), Kind::Bug);
}
