//! Marks of files that are being changed in place: what a crash leaves behind so that nobody takes a half-patched file
//! for a whole one. The next restore into the same directory finishes such files, because their digests do not match.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use shudao_vault::entry::TreePath;

/// A mark on disk.
#[derive(Debug)]
pub(super) struct Mark(PathBuf);

impl Mark {
    /// Writes the mark of `path` below `to`, durably, before the file is touched.
    pub(super) fn write(marks: &Path, to: &Path, path: &TreePath) -> io::Result<Self> {
        std::fs::create_dir_all(marks)?;
        let to = std::path::absolute(to)?;
        let place = marks.join(Self::name(&to, path));
        let mut file = File::create(&place)?;
        file.write_all(&[to.as_os_str().as_bytes(), &[0], path.as_bytes()].concat())?;
        file.sync_all()?;
        File::open(marks)?.sync_all()?;
        Ok(Self(place))
    }

    /// The mark that an earlier run left for `path` below `to`, if there is one.
    pub(super) fn find(marks: &Path, to: &Path, path: &TreePath) -> io::Result<Option<Self>> {
        let place = marks.join(Self::name(&std::path::absolute(to)?, path));
        Ok(place.try_exists()?.then_some(Self(place)))
    }

    fn name(to: &Path, path: &TreePath) -> String {
        blake3::hash(&[to.as_os_str().as_bytes(), &[0], path.as_bytes()].concat()).to_hex().to_string()
    }

    /// Removes the mark: the file is whole.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.0)
    }
}

/// A file that an interrupted restore left half-changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfinished {
    /// The directory that was restored into.
    pub to: PathBuf,
    /// The file below it.
    pub path: TreePath,
}

/// The files that interrupted restores left half-changed, by their marks. A mark that cannot be read is left out.
pub fn unfinished(marks: &Path) -> io::Result<Vec<Unfinished>> {
    let entries = match std::fs::read_dir(marks) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let bytes = std::fs::read(entry?.path())?;
        let Some(middle) = bytes.iter().position(|byte| *byte == 0) else { continue };
        if let Some(path) = TreePath::new(&bytes[middle + 1..]) {
            let to = PathBuf::from(std::ffi::OsString::from_vec(bytes[..middle].to_vec()));
            found.push(Unfinished { to, path });
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_of_its_file_until_it_is_removed() {
        let marks = tempfile::tempdir().unwrap();
        let marks = marks.path().join("marks");
        assert!(unfinished(&marks).unwrap().is_empty());
        let path = TreePath::new("a/b").unwrap();
        let to = Path::new("/srv/x");
        Mark::write(&marks, to, &path).unwrap();
        assert_eq!(unfinished(&marks).unwrap(), [Unfinished { to: to.into(), path: path.clone() }]);
        assert!(Mark::find(&marks, Path::new("/srv/y"), &path).unwrap().is_none());
        Mark::find(&marks, to, &path).unwrap().unwrap().remove().unwrap();
        assert!(unfinished(&marks).unwrap().is_empty());
    }
}
