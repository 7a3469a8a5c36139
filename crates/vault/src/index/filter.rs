//! Says quickly, and without reading, that a chunk is in no page of a run: about nine bits a chunk.
//!
//! Binary fuse filters are built at once from all their keys, so they are built in shards of consecutive ids: building
//! needs memory for one shard only.

use xorf::{BinaryFuse8, Descriptor, Filter as _};

use crate::codec::{Decoder, Encoder};
use crate::error::Result;

/// Chunk records in a shard.
const SHARD_RECORDS: usize = 1 << 20;

/// A filter over the keys of some consecutive records.
#[derive(Debug)]
struct Shard {
    first: u64,
    /// None where building failed: then every key may be there.
    filter: Option<BinaryFuse8>,
}

impl Shard {
    fn may_contain(&self, key: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.contains(&key))
    }
}

/// The filter of a run.
#[derive(Debug, Default)]
pub(super) struct Filter {
    shards: Vec<Shard>,
}

impl Filter {
    /// False only if no record has this key.
    pub(super) fn may_contain(&self, key: u64) -> bool {
        // Records with one key may end a shard and go on in the next.
        let start = self.shards.partition_point(|shard| shard.first < key).saturating_sub(1);
        let end = self.shards.partition_point(|shard| shard.first <= key);
        self.shards[start..end].iter().any(|shard| shard.may_contain(key))
    }

    /// Bytes of fingerprints.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().filter_map(|shard| shard.filter.as_ref()).map(|filter| filter.len()).sum()
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        for shard in &self.shards {
            out.u64(shard.first);
            let Some(filter) = &shard.filter else {
                out.u64(0);
                continue;
            };
            let Descriptor { seed, segment_length, segment_count_length, .. } = filter.descriptor;
            out.u64(filter.fingerprints.len() as u64).u64(seed).u32(segment_length).u32(segment_count_length);
            out.raw(&filter.fingerprints);
        }
    }

    /// Reads the filter of a run of `records` chunk records.
    pub(super) fn decode(input: &mut Decoder<'_>, records: u64) -> Result<Self> {
        let mut shards: Vec<Shard> = Vec::new();
        for _ in 0..records.div_ceil(SHARD_RECORDS as u64) {
            let first = input.u64()?;
            if shards.last().is_some_and(|last| last.first > first) {
                return Err(input.error("filter shards are not in order"));
            }
            let filter = decode_fuse(input)?;
            shards.push(Shard { first, filter });
        }
        Ok(Self { shards })
    }
}

/// Checks that no key can lead outside the fingerprints.
fn decode_fuse(input: &mut Decoder<'_>) -> Result<Option<BinaryFuse8>> {
    let len = input.u64()?;
    if len == 0 {
        return Ok(None);
    }
    let (seed, segment_length, segment_count_length) = (input.u64()?, input.u32()?, input.u32()?);
    let fits = segment_length.is_power_of_two()
        && segment_count_length > 0
        && segment_count_length % segment_length == 0
        && u64::from(segment_count_length) + 2 * u64::from(segment_length) == len
        && len <= u64::from(u32::MAX);
    if !fits {
        return Err(input.error("a filter's lengths do not fit together"));
    }
    let descriptor =
        Descriptor { seed, segment_length, segment_length_mask: segment_length - 1, segment_count_length };
    let fingerprints = input.raw(len as usize)?.into();
    Ok(Some(BinaryFuse8 { descriptor, fingerprints }))
}

/// Builds a filter from ascending keys.
#[derive(Debug, Default)]
pub(super) struct FilterBuilder {
    filter: Filter,
    keys: Vec<u64>,
    records: usize,
}

impl FilterBuilder {
    /// Adds the key of the next record; keys may repeat.
    pub(super) fn push(&mut self, key: u64) {
        if self.records == SHARD_RECORDS {
            self.end_shard();
        }
        self.records += 1;
        if self.keys.last() != Some(&key) {
            self.keys.push(key);
        }
    }

    pub(super) fn finish(mut self) -> Filter {
        self.end_shard();
        self.filter
    }

    fn end_shard(&mut self) {
        let Some(first) = self.keys.first().copied() else { return };
        let filter = BinaryFuse8::try_from(self.keys.as_slice()).ok();
        self.filter.shards.push(Shard { first, filter });
        self.keys.clear();
        self.records = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u64) -> Vec<u64> {
        let mut state = 1u64;
        let mut keys: Vec<u64> = (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state ^ (state >> 29)
            })
            .collect();
        keys.sort_unstable();
        keys
    }

    fn build(keys: &[u64]) -> Filter {
        let mut builder = FilterBuilder::default();
        for key in keys {
            builder.push(*key);
        }
        let mut out = Encoder::new();
        builder.finish().encode(&mut out);
        let bytes = out.finish();
        let mut input = Decoder::new(&bytes, "filter");
        let filter = Filter::decode(&mut input, keys.len() as u64).unwrap();
        input.finish().unwrap();
        filter
    }

    #[test]
    fn no_key_is_denied_and_few_strangers_pass() {
        for count in [0, 1, 2, 3, 10, 1000, 65_536, SHARD_RECORDS as u64 + 5000] {
            let all = keys(count);
            let filter = build(&all);
            assert!(all.iter().all(|key| filter.may_contain(*key)), "{count}");
            let strangers = keys(count + 10_000);
            let passed = strangers.iter().filter(|key| filter.may_contain(key.rotate_left(17))).count();
            assert!(passed <= 20 + strangers.len() / 150, "{passed} of {}", strangers.len());
            if count >= 65_536 {
                assert!(filter.bytes() as f64 <= 1.4 * count as f64, "{count}: {}", filter.bytes());
            }
        }
    }

    #[test]
    fn repeated_keys_across_a_shards_end_are_found() {
        let mut all = vec![5; SHARD_RECORDS - 1];
        all.extend([9; 10]);
        all.push(11);
        let filter = build(&all);
        assert!([5, 9, 11].iter().all(|key| filter.may_contain(*key)));
        assert!(!filter.may_contain(4));
    }
}
