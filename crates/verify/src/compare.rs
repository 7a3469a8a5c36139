//! A snapshot's entries held against a live tree: one merge of two streams in path order.
//!
//! Pure: both streams are arguments. Memory does not grow with the trees, only with the set of unread paths that the
//! caller hands over anyway.
//!
//! ```text
//! expected only  -> missing     unless the live reader was blind there: not compared
//! live only      -> extra       unless the snapshot was blind there: not compared
//! both           -> equal, or one difference for each aspect
//! ```

mod difference;

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::iter::Peekable;

use shudao_vault::entry::{Portable, TreePath};
use shudao_vault::{Error, Kind, Result};

use crate::live::{Live, NotRead, Skipped};

pub use difference::{Difference, DifferenceKind, FileKind, XattrChange, differences};

/// Which aspects of an entry are compared. Path, type, size, content and link target always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aspects {
    /// Permission bits.
    pub mode: bool,
    /// Owner's and group's numbers.
    pub owner: bool,
    /// Modification time.
    pub mtime: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// Which paths are links to the same file.
    pub links: bool,
    /// Numbers of devices.
    pub devices: bool,
}

impl Aspects {
    /// All that the manifest root covers.
    pub const MANIFEST: Self =
        Self { mode: true, owner: true, mtime: true, xattrs: true, links: true, devices: true };
    /// Only what the content root covers, for moves that map owners or modes.
    pub const CONTENT: Self =
        Self { mode: false, owner: false, mtime: false, xattrs: false, links: false, devices: false };
}

/// What to compare, and what the snapshot cannot answer for.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The aspects to compare.
    pub aspects: Aspects,
    /// Paths that the backup could not or would not read. They and what is below them are not held against the live
    /// tree.
    pub unread: Vec<TreePath>,
}

impl Default for Comparison {
    /// Everything is compared, and the snapshot answers for every path.
    fn default() -> Self {
        Self { aspects: Aspects::MANIFEST, unread: Vec::new() }
    }
}

/// Something to tell about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The live tree is not what the snapshot says.
    Differs(Difference),
    /// This path, and what lies below it, could not be compared.
    NotCompared {
        /// Where.
        path: TreePath,
        /// Who was blind there.
        why: Blind,
    },
}

/// Why a path was not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// The backup did not read it, so the snapshot says nothing about it.
    NotInSnapshot,
    /// The live tree could not be read there.
    NotRead(NotRead),
    /// The live tree was not read there by rule, though the snapshot has it.
    Skipped(Skipped),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Differs(difference) => difference.fmt(f),
            Self::NotCompared { path, why } => match why {
                Blind::NotInSnapshot => write!(f, "{path}: not compared: the backup did not read it"),
                Blind::NotRead(why) => write!(f, "{path}: not compared: {why}"),
                Blind::Skipped(why) => write!(f, "{path}: not compared: {why}"),
            },
        }
    }
}

/// How much was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entries of the snapshot.
    pub expected: u64,
    /// Entries of the live tree.
    pub live: u64,
    /// Paths equal in every aspect compared.
    pub equal: u64,
    /// Paths in both that differ in some aspect.
    pub different: u64,
    /// Paths only in the snapshot.
    pub missing: u64,
    /// Paths only in the live tree.
    pub extra: u64,
    /// Entries on one side that the other side was blind for.
    pub not_compared: u64,
    /// Paths of the live tree that could not be read.
    pub not_read: u64,
    /// Paths of the live tree that were left out by rule, sockets included.
    pub skipped: u64,
}

impl Counts {
    /// Whether no difference was found where the trees were compared.
    pub fn is_equal(&self) -> bool {
        self.different == 0 && self.missing == 0 && self.extra == 0
    }

    /// Whether the trees were compared everywhere that either side reaches.
    pub fn is_complete(&self) -> bool {
        self.not_compared == 0 && self.not_read == 0
    }
}

/// Holds `live` against `expected`. Both must be in path order. `on_live` sees every live entry, in order, whether it is
/// equal or not, so that the live tree's roots can be computed on the way.
///
/// The iterator ends after the first error, be it of `expected`, of `on_live` or of the order: a snapshot that cannot be read to its end says nothing about what is
/// missing or extra.
pub fn compare<E, L, F>(
    expected: E,
    live: L,
    comparison: Comparison,
    on_live: F,
) -> Compare<E::IntoIter, L::IntoIter, F>
where
    E: IntoIterator<Item = Result<Portable>>,
    L: IntoIterator<Item = Live>,
    F: FnMut(&Portable) -> Result<()>,
{
    let Comparison { aspects, mut unread } = comparison;
    unread.sort();
    unread.dedup();
    Compare {
        expected: expected.into_iter().peekable(),
        live: live.into_iter().peekable(),
        expected_last: None,
        live_last: None,
        aspects,
        unread,
        unread_told: 0,
        blind_spot: None,
        on_live,
        counts: Counts::default(),
        found: VecDeque::new(),
        is_over: false,
    }
}

/// The iterator of [`compare`].
pub struct Compare<E, L, F>
where
    E: Iterator<Item = Result<Portable>>,
    L: Iterator<Item = Live>,
{
    expected: Peekable<E>,
    live: Peekable<L>,
    expected_last: Option<TreePath>,
    live_last: Option<TreePath>,
    aspects: Aspects,
    /// Sorted; those before `unread_told` were reported.
    unread: Vec<TreePath>,
    unread_told: usize,
    /// Where the live reader last was blind. Path order makes one enough: what lies below it comes next.
    blind_spot: Option<BlindSpot>,
    on_live: F,
    counts: Counts,
    /// Findings of the latest step.
    found: VecDeque<Finding>,
    is_over: bool,
}

struct BlindSpot {
    path: TreePath,
    why: Blind,
    is_told: bool,
}

impl<E, L, F> Compare<E, L, F>
where
    E: Iterator<Item = Result<Portable>>,
    L: Iterator<Item = Live>,
    F: FnMut(&Portable) -> Result<()>,
{
    /// What was compared so far; final once the iterator has ended.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes the next path from whichever side has it; false at the end of both.
    fn step(&mut self) -> Result<bool> {
        let order = match (self.expected.peek(), self.live.peek()) {
            (None, None) => {
                self.tell_unread(None);
                return Ok(false);
            }
            (Some(Err(_)), _) | (Some(Ok(_)), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(Ok(expected)), Some(live)) => expected.path.cmp(live.path()),
        };
        match order {
            Ordering::Less => {
                if let Some(expected) = self.next_expected()? {
                    self.only_expected(expected);
                }
            }
            Ordering::Greater => {
                if let Some(live) = self.next_live()? {
                    self.only_live(live);
                }
            }
            Ordering::Equal => match self.next_live()? {
                Some(Live::Entry(live)) => {
                    if let Some(expected) = self.next_expected()? {
                        self.both(&expected, &live);
                    }
                }
                Some(Live::Skipped { path, why: Skipped::Socket }) => {
                    if let Some(expected) = self.next_expected()? {
                        self.socket_instead(&expected, path);
                    }
                }
                // The expected entry comes up in the next step, and the blind spot covers it.
                Some(live @ (Live::NotRead { .. } | Live::Skipped { .. })) => self.only_live(live),
                None => {}
            },
        }
        Ok(true)
    }

    fn next_expected(&mut self) -> Result<Option<Portable>> {
        let Some(expected) = self.expected.next().transpose()? else { return Ok(None) };
        if self.expected_last.as_ref().is_some_and(|last| *last >= expected.path) {
            return Err(Error::damaged(format!(
                "the snapshot's entries are out of order at {}",
                expected.path
            )));
        }
        self.expected_last = Some(expected.path.clone());
        self.counts.expected += 1;
        self.tell_unread(Some(&expected.path));
        Ok(Some(expected))
    }

    fn next_live(&mut self) -> Result<Option<Live>> {
        let Some(live) = self.live.next() else { return Ok(None) };
        // A directory that was not entered comes twice: as an entry, and as skipped.
        let may_repeat = matches!(live, Live::Skipped { .. });
        let is_late = |last: &TreePath| last > live.path() || (last == live.path() && !may_repeat);
        if self.live_last.as_ref().is_some_and(is_late) {
            return Err(Error::new(
                Kind::Bug,
                format!("the live tree was read out of order at {}", live.path()),
            ));
        }
        self.live_last = Some(live.path().clone());
        if let Live::Entry(portable) = &live {
            self.counts.live += 1;
            (self.on_live)(portable)?;
        }
        self.tell_unread(Some(live.path()));
        Ok(Some(live))
    }

    fn both(&mut self, expected: &Portable, live: &Portable) {
        let before = self.found.len();
        self.found.extend(differences(expected, live, self.aspects).into_iter().map(Finding::Differs));
        if self.found.len() == before {
            self.counts.equal += 1;
        } else {
            self.counts.different += 1;
        }
    }

    fn socket_instead(&mut self, expected: &Portable, path: TreePath) {
        self.counts.different += 1;
        self.counts.skipped += 1;
        let kind = DifferenceKind::Type { expected: FileKind::of(&expected.node), found: FileKind::Socket };
        self.found.push_back(Finding::Differs(Difference { path, kind }));
    }

    fn only_expected(&mut self, expected: Portable) {
        match &mut self.blind_spot {
            Some(spot) if expected.path.is_within(&spot.path) => {
                self.counts.not_compared += 1;
                if !spot.is_told {
                    spot.is_told = true;
                    self.found.push_back(Finding::NotCompared { path: spot.path.clone(), why: spot.why });
                }
            }
            Some(_) | None => {
                self.counts.missing += 1;
                let kind = DifferenceKind::Missing(FileKind::of(&expected.node));
                self.found.push_back(Finding::Differs(Difference { path: expected.path, kind }));
            }
        }
    }

    fn only_live(&mut self, live: Live) {
        match live {
            Live::Entry(live) if self.is_unread(&live.path) => self.counts.not_compared += 1,
            Live::Entry(live) => {
                self.counts.extra += 1;
                let kind = DifferenceKind::Extra(FileKind::of(&live.node));
                self.found.push_back(Finding::Differs(Difference { path: live.path, kind }));
            }
            Live::NotRead { path, why } => {
                self.counts.not_read += 1;
                let why = Blind::NotRead(why);
                self.found.push_back(Finding::NotCompared { path: path.clone(), why });
                self.blind_spot = Some(BlindSpot { path, why, is_told: true });
            }
            Live::Skipped { why: Skipped::Socket, .. } => self.counts.skipped += 1,
            Live::Skipped { path, why } => {
                self.counts.skipped += 1;
                self.blind_spot = Some(BlindSpot { path, why: Blind::Skipped(why), is_told: false });
            }
        }
    }

    /// Whether the backup did not read `path` or a directory above it.
    fn is_unread(&self, path: &TreePath) -> bool {
        let mut above = Some(path.clone());
        while let Some(path) = above {
            if self.unread.binary_search(&path).is_ok() {
                return true;
            }
            above = path.parent();
        }
        false
    }

    /// Reports the snapshot's unread paths up to `path`, or all of them.
    fn tell_unread(&mut self, path: Option<&TreePath>) {
        while let Some(unread) = self.unread.get(self.unread_told) {
            if path.is_some_and(|path| unread > path) {
                return;
            }
            self.unread_told += 1;
            self.found.push_back(Finding::NotCompared { path: unread.clone(), why: Blind::NotInSnapshot });
        }
    }
}

impl<E, L, F> Iterator for Compare<E, L, F>
where
    E: Iterator<Item = Result<Portable>>,
    L: Iterator<Item = Live>,
    F: FnMut(&Portable) -> Result<()>,
{
    type Item = Result<Finding>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(finding) = self.found.pop_front() {
                return Some(Ok(finding));
            }
            if self.is_over {
                return None;
            }
            match self.step() {
                Ok(more) => self.is_over = !more,
                Err(error) => {
                    self.is_over = true;
                    self.found.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
