//! Content as it is read: data and holes, and files that change meanwhile.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;

use super::*;

fn open(root: &Path, name: &str) -> OpenFile {
    find(&scan_all(options(&[root])), name.as_bytes()).open().unwrap()
}

/// Whether the temporary directory's file system tells holes at all.
fn tells_holes(file: &File) -> bool {
    rustix::fs::seek(file, SeekFrom::Hole(0)).unwrap() < file.metadata().unwrap().len()
}

#[test]
fn plain_content_comes_back_in_any_buffer() {
    let root = tempdir();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(root.path().join("file"), &content).unwrap();
    fs::write(root.path().join("empty"), "").unwrap();
    for buffer_bytes in [1000, 4096, 1 << 20] {
        let mut file = open(root.path(), "file");
        assert_eq!(file.size(), 400_000);
        assert_eq!(read_parts(&mut file, buffer_bytes), [Part::Data(content.clone())]);
        assert_eq!(file.position(), 400_000);
        assert_eq!(file.fingerprint_now().unwrap(), file.fingerprint());
    }
    assert_eq!(read_parts(&mut open(root.path(), "empty"), 10), []);
}

#[test]
fn holes_are_told_from_zeros() {
    const MIB: u64 = 1 << 20;
    let root = tempdir();
    let file = File::create(root.path().join("sparse")).unwrap();
    file.write_all_at(&[1; 4096], MIB).unwrap();
    file.write_all_at(&[0; 4096], 2 * MIB).unwrap();
    file.set_len(50 * MIB).unwrap();
    File::create(root.path().join("hollow")).unwrap().set_len(40 * MIB).unwrap();
    let parts = read_parts(&mut open(root.path(), "sparse"), 64 << 10);
    if tells_holes(&file) {
        let expected = [
            Part::Hole(MIB),
            Part::Data(vec![1; 4096]),
            Part::Hole(MIB - 4096),
            Part::Data(vec![0; 4096]),
            Part::Hole(48 * MIB - 4096),
        ];
        assert!(parts == expected);
        assert_eq!(read_parts(&mut open(root.path(), "hollow"), 10), [Part::Hole(40 * MIB)]);
    } else {
        let [Part::Data(data)] = &parts[..] else { panic!("one run of data") };
        assert_eq!(data.len() as u64, 50 * MIB);
        assert_eq!(data.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 4096);
    }
}

#[test]
fn a_file_that_grows_is_read_to_its_size_at_opening_and_shows_it() {
    let root = tempdir();
    let path = root.path().join("file");
    fs::write(&path, "12345").unwrap();
    let mut file = open(root.path(), "file");
    fs::write(&path, "1234567890").unwrap();
    assert_eq!(read_parts(&mut file, 100), [Part::Data(b"12345".to_vec())]);
    assert_ne!(file.fingerprint_now().unwrap(), file.fingerprint());
    file.rewind().unwrap();
    assert_eq!(read_parts(&mut file, 100), [Part::Data(b"1234567890".to_vec())]);
    assert_eq!(file.fingerprint_now().unwrap(), file.fingerprint());
}

#[test]
fn a_file_that_shrinks_is_noticed_in_data_and_in_holes() {
    let root = tempdir();
    for (name, hole) in [("data", false), ("sparse", true)] {
        let writer = File::create(root.path().join(name)).unwrap();
        writer.write_all_at(&[7; 8192], 0).unwrap();
        if hole {
            writer.set_len(1 << 20).unwrap();
        }
        let mut file = open(root.path(), name);
        let mut buffer = [0; 4096];
        assert_eq!(file.next_piece(&mut buffer).unwrap(), Piece::Data(4096), "{name}");
        writer.set_len(5000).unwrap();
        assert_eq!(read_parts(&mut file, 4096), [Part::Data(vec![7; 904]), Part::Shrunk], "{name}");
        assert_eq!(file.position(), 5000);
    }
}

#[test]
fn a_big_file_is_read_whole_while_its_pages_are_given_back() {
    let root = tempdir();
    let path = root.path().join("big");
    let writer = File::create(&path).unwrap();
    for block in 0..40_u64 {
        writer.write_all_at(&vec![block as u8 + 1; 1 << 20], block << 20).unwrap();
    }
    let mut file = open(root.path(), "big");
    let mut buffer = vec![0; 1 << 20];
    for block in 0..40_u8 {
        assert_eq!(file.next_piece(&mut buffer).unwrap(), Piece::Data(1 << 20));
        assert!(buffer.iter().all(|byte| *byte == block + 1));
    }
    assert_eq!(file.next_piece(&mut buffer).unwrap(), Piece::End);
}

#[test]
fn reading_leaves_the_access_time_alone() {
    use std::os::unix::fs::MetadataExt;
    let root = tempdir();
    let path = root.path().join("file");
    fs::write(&path, "x").unwrap();
    let old = fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH);
    File::options().write(true).open(&path).unwrap().set_times(old).unwrap();
    read_parts(&mut open(root.path(), "file"), 10);
    assert_eq!(fs::metadata(&path).unwrap().atime(), 0);
}
