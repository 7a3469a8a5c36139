//! Into an empty directory.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn a_file_gets_its_name_only_if_its_bytes_have_the_digest_of_its_entry() {
    // What a damaged or lying tree could say: the entry's digest is not that of the one chunk it names.
    let mut bench = Bench::new().await;
    write(&bench.source(), "one", "1");
    let snapshot = bench.backup().await;
    fs::create_dir(bench.target()).unwrap();
    let reader = Arc::new(bench.vault.reader());
    let tree = snapshot.contents.tree;
    let mut entries = shudao_vault::tree::EntryStream::open(reader, tree.digest, tree.level);
    entries.next().await.unwrap();
    let mut entry = entries.next().await.unwrap().unwrap();
    let shudao_vault::entry::Node::File { digest, .. } = &mut entry.portable.node else { panic!("a file") };
    let chunk = std::mem::replace(digest, shudao_vault::id::Digest::of(b"2"));
    let place = super::super::target::Target::open(&bench.target()).unwrap().place(entry.path()).unwrap();
    let mut file =
        super::super::write::FileInWork::new(entry, place, Vec::new(), super::super::write::Manner::Renamed);
    file.write(&super::super::write::Piece::Data(bytes::Bytes::from_static(b"1"), chunk)).unwrap();
    assert!(matches!(file.finish(), Err(super::super::write::WriteError::Digest { .. })));
    assert_eq!(fs::read_dir(bench.target()).unwrap().count(), 0, "neither the file nor a part of it");
}

#[tokio::test]
async fn a_lost_pack_costs_only_the_files_that_need_it() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "a", "first");
    write(&bench.source(), "empty", "");
    bench.backup().await;
    let kept = packs(&bench).await;
    write(&bench.source(), "b", "second");
    fs::hard_link(bench.source().join("b"), bench.source().join("c")).unwrap();
    let snapshot = bench.backup().await;
    lose_content(&bench, &kept).await;
    let summary = bench.restore(&snapshot, false).await;
    assert_eq!(paths(&summary.failed), ["b", "c"]);
    assert!(summary.failed[0].what.contains("pack "), "{:?}", summary.failed);
    assert_eq!(fs::read(bench.target().join("a")).unwrap(), b"first");
    assert!(bench.target().join("empty").exists() && !bench.target().join("b").exists());
    assert_eq!(part_files(&bench.target()), 0);
}

#[tokio::test]
async fn a_link_into_what_was_filtered_out_is_a_file_of_its_own() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "a/first", "shared");
    for name in ["second", "third"] {
        fs::hard_link(bench.source().join("a/first"), bench.source().join(name)).unwrap();
    }
    let snapshot = bench.backup().await;
    assert_eq!(bench.restore_with(&snapshot, false, &[], &["/a"]).await.unwrap().failed, []);
    assert_eq!(fs::read(bench.target().join("second")).unwrap(), b"shared");
    assert_eq!(inode(&bench.target().join("second")), inode(&bench.target().join("third")));
    assert!(!bench.target().join("a").exists());
}

#[tokio::test]
async fn modes_and_times_survive_what_is_written_after_them() {
    let mut bench = Bench::new().await;
    let source = bench.source();
    write(&source, "d/e/program", "1");
    fs::set_permissions(source.join("d/e/program"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(source.join("d/e"), fs::Permissions::from_mode(0o555)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    for path in ["d/e/program", "d/e", "d", ""] {
        fs::File::open(source.join(path)).unwrap().set_modified(time).unwrap();
    }
    let snapshot = bench.backup().await;
    let summary = bench.restore(&snapshot, false).await;
    assert_eq!((&summary.failed[..], &summary.metadata_not_set[..]), (&[][..], &[][..]));
    for (path, mode) in [("d/e/program", Some(0o6755)), ("d/e", Some(0o555)), ("d", None), ("", None)] {
        let found = fs::metadata(bench.target().join(path)).unwrap();
        assert_eq!(found.modified().unwrap(), time, "{path}");
        assert!(mode.is_none_or(|mode| found.permissions().mode() & 0o7777 == mode), "{path}");
    }
    for root in [source, bench.target()] {
        fs::set_permissions(root.join("d/e"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[tokio::test]
async fn more_directories_than_a_process_may_open_are_restored() {
    let mut bench = Bench::new().await;
    for number in 0..1500 {
        write(&bench.source(), &format!("{number}/file"), number.to_string());
    }
    let snapshot = bench.backup().await;
    let before = open_files();
    let mut most = 0;
    let restored = bench.restore(&snapshot, false);
    tokio::pin!(restored);
    let summary = loop {
        tokio::select! {
            summary = &mut restored => break summary,
            () = tokio::task::yield_now() => most = most.max(open_files().saturating_sub(before)),
        }
    };
    assert_eq!((summary.failed, summary.files), (vec![], 1500));
    assert!(most < 900, "{most} files were open at a time");
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn a_lost_segment_costs_nothing() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "a", "first");
    bench.backup().await;
    write(&bench.source(), "b", "second");
    let snapshot = bench.backup().await;
    let store = bench.vault.replica().store().clone();
    let segments = bench.vault.replica().state().segments_live().to_vec();
    for (number, segment) in segments.iter().enumerate() {
        store.delete(&format!("index/{segment}")).await.unwrap();
        bench.reopen().await;
        assert_eq!(bench.vault.problems().len(), number + 1);
        assert!(bench.vault.problems()[number].object.contains("index/"));
        let summary = bench.restore(&snapshot, false).await;
        assert_eq!((summary.failed, summary.files), (vec![], 2));
        fs::remove_dir_all(bench.target()).unwrap();
    }
    let content = shudao_vault::keys::ring::ChunkSpace::Content;
    let digest = shudao_vault::id::Digest::of(b"first");
    let place = bench.vault.reader().places(content, &digest).unwrap()[0];
    let (state, trusted) = (bench.vault.replica().state(), bench.vault.trusted_writers());
    assert!(
        !shudao_vault::reliance::may_rely_on(&place, state, &trusted),
        "a directory is not signed: nobody deduplicates against what only it says"
    );
}
