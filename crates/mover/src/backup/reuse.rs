//! Referring to content that is stored already.

use std::sync::Arc;

use shudao_vault::Result;
use shudao_vault::entry::{Extent, Extents};
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::reader::Reader;
use shudao_vault::suite::Secret;
use shudao_vault::tree::{ExtentListBuilder, ExtentStream};
use tokio::runtime::Handle;

use crate::ingest::{Ingest, Nodes};

/// What it takes.
#[derive(Clone, Copy)]
pub(super) struct Reuse<'a> {
    pub(super) ingest: &'a Ingest,
    pub(super) reader: &'a Arc<Reader>,
    pub(super) boundary: &'a Secret,
    pub(super) runtime: &'a Handle,
}

impl Reuse<'_> {
    /// Refers to all chunks of these extents, which sum to `size`, and returns a builder that holds them; `None` if one is
    /// not stored any more or may not be relied on, or the list cannot be read: then they are read again.
    pub(super) fn extents(&self, extents: &Extents, size: u64) -> Result<Option<ExtentListBuilder>> {
        // Nothing is counted before everything is known; where there is one chunk, to count it is to know it.
        let is_one = matches!(extents, Extents::Inline(extents) if extents.len() <= 1);
        if !is_one
            && !self.for_each(extents, size, |extent| match extent {
                Extent::Data { digest, .. } => self.ingest.knows(ChunkSpace::Content, digest),
                Extent::Hole { .. } => Ok(true),
            })?
        {
            return Ok(None);
        }
        // Building the list again offers its nodes, nearly always known, and so counts references to them.
        let mut list = ExtentListBuilder::new(self.boundary);
        let is_whole = self.for_each(extents, size, |extent| {
            if let Extent::Data { digest, length } = extent {
                // What was known a moment ago may be condemned now: then the file is read.
                if !self.ingest.refer_known(ChunkSpace::Content, digest, *length as usize)? {
                    return Ok(false);
                }
            }
            list.push(*extent, &mut Nodes(self.ingest)).map(|()| true)
        })?;
        Ok((is_whole && list.length() == size).then_some(list))
    }

    /// Calls `visit` until it says false; false too when the list itself cannot be read.
    fn for_each(
        &self,
        extents: &Extents,
        size: u64,
        mut visit: impl FnMut(&Extent) -> Result<bool>,
    ) -> Result<bool> {
        if let Extents::Inline(extents) = extents {
            for extent in extents {
                if !visit(extent)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let Ok(mut stream) = ExtentStream::open(Arc::clone(self.reader), extents, size) else {
            return Ok(false);
        };
        loop {
            match self.runtime.block_on(stream.next()) {
                Ok(None) => return Ok(true),
                Ok(Some((_, extent))) if visit(&extent)? => {}
                Ok(Some(_)) | Err(_) => return Ok(false),
            }
        }
    }
}
