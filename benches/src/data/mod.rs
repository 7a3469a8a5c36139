//! Sources to back up, in two generations. Sizes at 100 percent are those of the published comparison.

mod documents;
mod dump;
mod image;
mod tiny;

use std::io;
use std::path::Path;

/// A kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataSet {
    /// 20,000 files of 1 KiB to 1 MiB, 1.5 GB: half compressible, a quarter copies of others. Then 2 % change.
    Documents,
    /// 100,000 files of about 1 KiB in 10,000 directories. Then 3 % are changed, new or gone.
    Tiny,
    /// A sparse disk image of 2 GiB, 1.5 GB of it data. Then 43 MB change, in spots of 4 to 64 KiB.
    Image,
    /// A text dump of tables, 1 GB. Then 10 MB of rows are inserted in five places.
    DumpInserted,
    /// The same; then one row in a thousand changes, all over it.
    DumpUpdated,
}

/// How large a source is made, and from which seed.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Of the full size.
    pub percent: u64,
    /// Other bytes, the same statistics.
    pub seed: u64,
}

impl Scale {
    /// That much of `full`, at least one.
    fn of(self, full: u64) -> u64 {
        (full * self.percent / 100).max(1)
    }
}

impl DataSet {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Documents, Self::Tiny, Self::Image, Self::DumpInserted, Self::DumpUpdated];

    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Tiny => "tiny",
            Self::Image => "image",
            Self::DumpInserted => "dump-inserted",
            Self::DumpUpdated => "dump-updated",
        }
    }

    /// Makes the first generation in an empty directory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn make(self, directory: &Path, scale: Scale) -> io::Result<()> {
        match self {
            Self::Documents => documents::make(directory, scale),
            Self::Tiny => tiny::make(directory, scale),
            Self::Image => image::make(&directory.join("disk.img"), scale),
            Self::DumpInserted | Self::DumpUpdated => dump::make(&directory.join("dump.sql"), scale),
        }
    }

    /// Makes the second generation out of the first, in place; what does not change is not touched.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn change(self, directory: &Path, scale: Scale) -> io::Result<()> {
        match self {
            Self::Documents => documents::change(directory, scale),
            Self::Tiny => tiny::change(directory, scale),
            Self::Image => image::change(&directory.join("disk.img"), scale),
            Self::DumpInserted => dump::insert(&directory.join("dump.sql"), scale),
            Self::DumpUpdated => dump::update(&directory.join("dump.sql"), scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(directory: &Path, found: &mut BTreeMap<std::path::PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }

    #[test]
    fn each_generation_is_the_same_for_a_seed_and_the_second_differs_from_the_first() {
        for set in DataSet::ALL {
            let generations = [1, 1, 2].map(|seed| {
                let (scale, place) = (Scale { percent: 1, seed }, tempfile::tempdir().unwrap());
                set.make(place.path(), scale).unwrap();
                let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
                files(place.path(), &mut first);
                set.change(place.path(), scale).unwrap();
                files(place.path(), &mut second);
                let bare = |files: BTreeMap<std::path::PathBuf, Vec<u8>>| -> Vec<_> {
                    files
                        .into_iter()
                        .map(|(path, bytes)| (path.strip_prefix(place.path()).unwrap().to_owned(), bytes))
                        .collect()
                };
                (bare(first), bare(second))
            });
            assert!(generations[0] == generations[1], "{}: not the same twice", set.name());
            assert!(generations[0].0 != generations[2].0, "{}: the seed does nothing", set.name());
            assert!(generations[0].0 != generations[0].1, "{}: nothing changes", set.name());
        }
    }
}
