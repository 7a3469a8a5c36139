//! Reading many frames at once: by pack, in ranges, in parallel.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::error::{Error, Result};
use crate::id::PackId;
use crate::index::Location;
use crate::name::Name;
use crate::reader::{FrameKey, Reader, frame_key, open_place};
use crate::replicas::Failures;

/// Ranges are rounded to this, so that whoever watches the store learns little about frame lengths.
const RANGE_ROUND_BYTES: u64 = 64 << 10;
/// Frames of one pack that lie closer together than this are read in one range.
const GAP_BYTES_MAX: u64 = 128 << 10;
/// A range is at most this long, unless one frame alone is longer.
const RANGE_BYTES_MAX: u64 = 8 << 20;
/// Ranges read at the same time.
const RANGES_IN_FLIGHT_MAX: usize = 8;

/// One range of a pack and the frames in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    pack: PackId,
    start: u64,
    end: u64,
    frames: Vec<Location>,
}

/// Opened frames; a frame that could not be read has its error.
pub type Frames = HashMap<FrameKey, Result<Bytes>>;

impl Reader {
    /// Reads and opens the frames that hold `places`, each once. Takes what is cached from the cache.
    pub async fn frames(&self, places: &[Location]) -> Frames {
        let mut frames = Frames::new();
        let mut wanted = Vec::new();
        for place in places {
            match self.cached(place) {
                Some(frame) => drop(frames.insert(frame_key(place), Ok(frame))),
                None => wanted.push(*place),
            }
        }
        let ranges = plan_ranges(&wanted);
        let mut fetched = stream::iter(ranges)
            .map(|range| async move { self.read_range(range).await })
            .buffer_unordered(RANGES_IN_FLIGHT_MAX);
        while let Some(opened) = fetched.next().await {
            frames.extend(opened);
        }
        frames
    }

    async fn read_range(&self, range: Range) -> Vec<(FrameKey, Result<Bytes>)> {
        match self.read_sealed(&range).await {
            Ok((start, bytes)) => {
                let mut opened = Vec::with_capacity(range.frames.len());
                for place in range.frames {
                    let from = (place.frame_offset - start) as usize;
                    let sealed = bytes.slice(from..from + place.stored_length as usize);
                    opened.push((frame_key(&place), self.open_frame_of(place, sealed).await));
                }
                opened
            }
            // One bad frame, or a pack cut short, must not take its neighbours along: read each alone.
            Err(_) => {
                let mut opened = Vec::with_capacity(range.frames.len());
                for place in range.frames {
                    opened.push((frame_key(&place), self.frame(&place).await));
                }
                opened
            }
        }
    }

    async fn read_sealed(&self, range: &Range) -> Result<(u64, Bytes)> {
        let first = range.frames.first().ok_or_else(|| Error::damaged("a range without frames"))?;
        let size = self.pack_size(first).await?;
        let start = range.start / RANGE_ROUND_BYTES * RANGE_ROUND_BYTES;
        let end = range.end.div_ceil(RANGE_ROUND_BYTES).saturating_mul(RANGE_ROUND_BYTES).min(size);
        if end < range.end {
            return Err(Error::damaged(format!("pack {} ends at byte {size}", range.pack)));
        }
        let name = Name::pack(range.pack);
        let mut failures = Failures::default();
        for sibling in self.siblings().in_order() {
            let read = sibling.objects().read_range(&name, start, end - start).await;
            sibling.note(&read);
            match read {
                Ok(bytes) => return Ok((start, bytes)),
                Err(error) => failures.add(error),
            }
        }
        Err(failures.into_error(|| format!("read {name}")))
    }

    async fn open_frame_of(&self, place: Location, sealed: Bytes) -> Result<Bytes> {
        let key = self.key_of(&place).await?;
        let opened = tokio::task::spawn_blocking(move || open_place(&key, &place, &sealed)).await;
        let frame = opened.map_err(|_| Error::new(crate::Kind::Bug, "opening a frame panicked"))??;
        self.keep(&place, &frame);
        Ok(frame)
    }
}

/// Frames sorted by pack and place, neighbours joined.
fn plan_ranges(places: &[Location]) -> Vec<Range> {
    let mut frames: BTreeMap<(PackId, u64), Location> = BTreeMap::new();
    for place in places {
        frames.insert((place.pack, place.frame_offset), *place);
    }
    let mut ranges: Vec<Range> = Vec::new();
    for ((pack, offset), place) in frames {
        let end = offset + u64::from(place.stored_length);
        match ranges.last_mut() {
            Some(range)
                if range.pack == pack
                    && offset >= range.end
                    && offset - range.end <= GAP_BYTES_MAX
                    && end - range.start <= RANGE_BYTES_MAX =>
            {
                range.end = end;
                range.frames.push(place);
            }
            _ => ranges.push(Range { pack, start: offset, end, frames: vec![place] }),
        }
    }
    ranges
}
