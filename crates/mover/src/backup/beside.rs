//! An earlier tree, read forward beside the walk.

use std::sync::Arc;

use shudao_vault::entry::{Entry, TreePath};
use shudao_vault::reader::Reader;
use shudao_vault::tree::EntryStream;
use shudao_vault::{Kind, id::Digest};
use tokio::runtime::Handle;

/// The entries of a tree, asked for by ascending path.
pub(super) struct Beside<'a> {
    stream: Option<EntryStream<Arc<Reader>>>,
    ahead: Option<Entry>,
    runtime: &'a Handle,
    /// Entries that were passed over: their paths are gone.
    pub(super) passed: u64,
}

impl<'a> Beside<'a> {
    /// The tree with this root node and level; without one, a tree of nothing.
    pub(super) fn new(reader: &Arc<Reader>, root: Option<(Digest, u8)>, runtime: &'a Handle) -> Self {
        let stream = root.map(|(digest, level)| EntryStream::open(Arc::clone(reader), digest, level));
        Self { stream, ahead: None, runtime, passed: 0 }
    }

    /// The entry at `path`, which comes after all that were asked for before.
    pub(super) fn at(&mut self, path: &TreePath) -> Option<Entry> {
        loop {
            if self.ahead.is_none() {
                self.ahead = self.read();
            }
            match self.ahead.as_ref()?.path().cmp(path) {
                std::cmp::Ordering::Less => {
                    self.ahead = None;
                    self.passed += 1;
                }
                std::cmp::Ordering::Equal => return self.ahead.take(),
                std::cmp::Ordering::Greater => return None,
            }
        }
    }

    /// Passes over everything that is left.
    pub(super) fn pass_rest(&mut self) {
        while self.ahead.take().is_some() || self.read().is_some() {
            self.passed += 1;
        }
    }

    /// The next entry. What a lost node held is simply read again.
    fn read(&mut self) -> Option<Entry> {
        loop {
            let stream = self.stream.as_mut()?;
            match self.runtime.block_on(stream.next()) {
                Ok(Some(entry)) => return Some(entry),
                Err(error) if matches!(error.kind(), Kind::Missing | Kind::Damaged) => {}
                Ok(None) | Err(_) => self.stream = None,
            }
        }
    }
}
