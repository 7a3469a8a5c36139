//! Where content is cut into chunks: FastCDC with a secret gear table.
//!
//! Whether a position is a candidate depends on the 64 bytes before it and on the key, on nothing else; so an
//! insertion moves only the cuts near it. Pure: bytes in, cut points out. Specification: `docs/format/chunker.md`.

use std::fmt;

use shudao_vault::log::ChunkerProfile;

/// Bytes that decide whether a position is a candidate: older ones have been shifted out of the 64-bit sum.
const WINDOW_BYTES: usize = 64;

/// How many bits the mask gains before the average size and loses after it.
const NORMALISATION_BITS: u32 = 2;

/// No profile allows chunks longer than this.
pub const CHUNK_BYTES_MAX: u32 = 16 << 20;

/// What the gear table is derived for; keeps it apart from any other use of the key.
const GEAR_CONTEXT: &[u8] = b"shudao gear table 1";

/// Sizes that a chunker keeps, under the number by which entries name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    number: u8,
    min: u32,
    average: u32,
    max: u32,
}

/// Why a profile is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The smallest size is below the window that decides a cut.
    #[error("a chunker's minimum of {0} bytes is below {WINDOW_BYTES}")]
    MinTooSmall(u32),
    /// The average must be a power of two of at least 256 bytes, because it is a number of mask bits.
    #[error("a chunker's average of {0} bytes is not a power of two of at least 256")]
    AverageNotPowerOfTwo(u32),
    /// Sizes must rise: minimum, average, maximum.
    #[error("a chunker's sizes do not rise: minimum {min}, average {average}, maximum {max}")]
    NotRising {
        /// Smallest size in bytes.
        min: u32,
        /// Size in bytes at which the mask becomes easier.
        average: u32,
        /// Largest size in bytes.
        max: u32,
    },
    /// The largest size is above [`CHUNK_BYTES_MAX`].
    #[error("a chunker's maximum of {0} bytes is above {CHUNK_BYTES_MAX}")]
    MaxTooLarge(u32),
}

impl Profile {
    /// Profile 1, for most files: at least 64 KiB, 256 KiB on average, at most 1 MiB.
    pub const COARSE: Self = Self { number: 1, min: 64 << 10, average: 256 << 10, max: 1 << 20 };

    /// Profile 2, for what is changed in many places: at least 8 KiB, 32 KiB on average, at most 128 KiB.
    pub const FINE: Self = Self { number: 2, min: 8 << 10, average: 32 << 10, max: 128 << 10 };

    /// The profile `number` with these sizes in bytes; 64 ≤ `min` < `average` < `max` ≤ [`CHUNK_BYTES_MAX`], and
    /// `average` is a power of two.
    pub fn new(number: u8, min: u32, average: u32, max: u32) -> Result<Self, ProfileError> {
        if (min as usize) < WINDOW_BYTES {
            return Err(ProfileError::MinTooSmall(min));
        }
        if !average.is_power_of_two() || average < 256 {
            return Err(ProfileError::AverageNotPowerOfTwo(average));
        }
        if min >= average || average >= max {
            return Err(ProfileError::NotRising { min, average, max });
        }
        if max > CHUNK_BYTES_MAX {
            return Err(ProfileError::MaxTooLarge(max));
        }
        Ok(Self { number, min, average, max })
    }

    /// A profile as a vault's settings carry it.
    fn of_settings(settled: &ChunkerProfile) -> Result<Self, ProfileError> {
        Self::new(settled.number, settled.min, settled.average, settled.max)
    }

    /// The profile as a vault's settings carry it.
    pub fn to_settings(self) -> ChunkerProfile {
        ChunkerProfile { number: self.number, min: self.min, average: self.average, max: self.max }
    }

    /// The number that entries carry.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Smallest chunk in bytes, except at the end of a stream.
    pub fn min(&self) -> u32 {
        self.min
    }

    /// Size in bytes up to which cuts are rare and beyond which they are frequent.
    pub fn average(&self) -> u32 {
        self.average
    }

    /// Largest chunk in bytes.
    pub fn max(&self) -> u32 {
        self.max
    }
}

/// The two profiles that a vault's settings tell its writers to cut by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profiles {
    /// The one with the greatest average.
    pub coarse: Profile,
    /// The one with the least average.
    pub fine: Profile,
}

impl Profiles {
    /// [`Profile::COARSE`] and [`Profile::FINE`].
    pub const DEFAULT: Self = Self { coarse: Profile::COARSE, fine: Profile::FINE };

    /// Those of these settings; where there are none, [`Profiles::DEFAULT`]. Of equal averages the highest number counts.
    pub fn in_force(settled: &[ChunkerProfile]) -> Result<Self, ProfileError> {
        let coarse = settled.iter().max_by_key(|profile| (profile.average, profile.number));
        let fine = settled.iter().max_by_key(|profile| (std::cmp::Reverse(profile.average), profile.number));
        match (coarse, fine) {
            (Some(coarse), Some(fine)) => {
                Ok(Self { coarse: Profile::of_settings(coarse)?, fine: Profile::of_settings(fine)? })
            }
            _ => Ok(Self::DEFAULT),
        }
    }

    /// The profiles as a vault's settings carry them.
    pub fn to_settings(self) -> Vec<ChunkerProfile> {
        [self.coarse, self.fine].map(Profile::to_settings).to_vec()
    }

    /// Largest chunk of either, in bytes.
    pub fn chunk_bytes_max(&self) -> usize {
        self.coarse.max.max(self.fine.max) as usize
    }
}

/// A secret number for each byte value.
#[derive(Clone)]
pub struct GearTable(Box<[u64; 256]>);

impl GearTable {
    /// The table of a vault's gear key.
    pub fn derive(key: &[u8; 32]) -> Self {
        let mut stream = blake3::Hasher::new_keyed(key).update(GEAR_CONTEXT).finalize_xof();
        let mut table = Box::new([0; 256]);
        for number in table.iter_mut() {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            *number = u64::from_le_bytes(bytes);
        }
        Self(table)
    }
}

impl fmt::Debug for GearTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GearTable(..)")
    }
}

/// Finds cut points under one profile and one gear table.
#[derive(Debug, Clone)]
pub struct Chunker {
    table: GearTable,
    number: u8,
    min: usize,
    average: usize,
    max: usize,
    /// Below this a sum is a candidate before the average size.
    rare: u64,
    /// Below this a sum is a candidate after the average size.
    frequent: u64,
}

impl Chunker {
    /// A chunker for this profile and table.
    pub fn new(profile: &Profile, table: &GearTable) -> Self {
        let bits = profile.average.trailing_zeros();
        Self {
            table: table.clone(),
            number: profile.number,
            min: profile.min as usize,
            average: profile.average as usize,
            max: profile.max as usize,
            rare: 1 << (64 - bits - NORMALISATION_BITS),
            frequent: 1 << (64 - bits + NORMALISATION_BITS),
        }
    }

    /// Largest chunk in bytes: a buffer this long always holds a cut.
    pub fn max_bytes(&self) -> usize {
        self.max
    }

    /// The profile's number, for the entry.
    pub fn profile_number(&self) -> u8 {
        self.number
    }

    /// Length of the chunk that starts at the start of `buffer`, between 1 and [`Self::max_bytes`]. `None` means
    /// that more bytes are needed, which happens only while `buffer` is shorter than the maximum and `at_end` is
    /// false, or that `buffer` is empty. `at_end` says that no byte follows `buffer` before a hole or the end.
    ///
    /// The answer does not depend on how much of the stream `buffer` holds. Each call looks at the chunk from its
    /// start: offer several maximum sizes at a time, and the part seen twice stays small.
    pub fn next_cut(&self, buffer: &[u8], at_end: bool) -> Option<usize> {
        let seen = buffer.len().min(self.max);
        if seen >= self.min {
            let turn = seen.min(self.average);
            let mut sum = 0_u64;
            for byte in &buffer[self.min - WINDOW_BYTES..self.min - 1] {
                sum = self.roll(sum, *byte);
            }
            // Position p is judged by the byte before it, so the loops start one byte before the first position.
            let (found, sum) = self.scan(&buffer[self.min - 1..turn], sum, self.rare);
            if let Some(offset) = found {
                return Some(self.min + offset);
            }
            let (found, _) = self.scan(&buffer[turn..seen], sum, self.frequent);
            if let Some(offset) = found {
                return Some(turn + 1 + offset);
            }
        }
        if seen == self.max || (at_end && seen > 0) { Some(seen) } else { None }
    }

    /// The sum after one more byte.
    #[inline(always)]
    fn roll(&self, sum: u64, byte: u8) -> u64 {
        (sum << 1).wrapping_add(self.table.0[usize::from(byte)])
    }

    /// Index of the first byte after which the sum is below `limit`, and the sum there or at the end of `bytes`.
    #[inline]
    fn scan(&self, bytes: &[u8], mut sum: u64, limit: u64) -> (Option<usize>, u64) {
        for (index, byte) in bytes.iter().enumerate() {
            sum = self.roll(sum, *byte);
            if sum < limit {
                return (Some(index), sum);
            }
        }
        (None, sum)
    }
}

/// Files of at least so many bytes may be cut finely: in a smaller one a coarse chunk that is stored again costs little.
pub const FINE_FILE_BYTES_MIN: u64 = 8 << 20;

/// The chunkers of a vault, one for each of its profiles.
#[derive(Debug, Clone)]
pub struct Chunkers {
    coarse: Chunker,
    fine: Chunker,
}

impl Chunkers {
    /// Chunkers for these profiles and this table.
    pub fn new(profiles: &Profiles, table: &GearTable) -> Self {
        Self { coarse: Chunker::new(&profiles.coarse, table), fine: Chunker::new(&profiles.fine, table) }
    }

    /// Largest chunk of any, in bytes.
    pub fn max_bytes(&self) -> usize {
        self.coarse.max.max(self.fine.max)
    }

    /// The one of this number; `None` if the vault's settings have it no more.
    pub fn numbered(&self, number: u8) -> Option<&Chunker> {
        [&self.coarse, &self.fine].into_iter().find(|chunker| chunker.number == number)
    }

    /// The one to cut a file by. Databases, their dumps and images of disks are large, compress, and are changed in many small
    /// places: fine chunks keep what is stored again close to what changed. Media and archives are large, do not compress, and
    /// are not changed in place; they and small files are cut coarsely, which keeps the index small.
    ///
    /// `size` in bytes, `None` where nobody knows it yet and it is at least [`Self::max_bytes`]; `compresses` is asked of a
    /// large file's beginning.
    pub fn of_file(&self, size: Option<u64>, compresses: impl FnOnce() -> bool) -> &Chunker {
        let is_large = size.is_none_or(|size| size >= FINE_FILE_BYTES_MIN);
        if is_large && compresses() { &self.fine } else { &self.coarse }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn small() -> Profile {
        Profile::new(9, 64, 256, 1024).unwrap()
    }

    fn chunker(profile: &Profile) -> Chunker {
        Chunker::new(profile, &GearTable::derive(&KEY))
    }

    /// Bytes that look random and are the same everywhere.
    fn seeded(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn lengths(chunker: &Chunker, mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(cut) = chunker.next_cut(bytes, true) {
            lengths.push(cut);
            bytes = &bytes[cut..];
        }
        lengths
    }

    /// The specification word for word: every position is judged anew from the 64 bytes before it.
    fn lengths_by_definition(profile: &Profile, mut bytes: &[u8]) -> Vec<usize> {
        let table = GearTable::derive(&KEY);
        let bits = profile.average().ilog2();
        let cut_of = |bytes: &[u8]| {
            for position in profile.min() as usize..=bytes.len().min(profile.max() as usize) {
                let sum = bytes[position - 64..position]
                    .iter()
                    .rev()
                    .enumerate()
                    .fold(0_u64, |sum, (age, byte)| sum.wrapping_add(table.0[usize::from(*byte)] << age));
                let zeros = if position <= profile.average() as usize { bits + 2 } else { bits - 2 };
                if sum.leading_zeros() >= zeros || position == profile.max() as usize {
                    return position;
                }
            }
            bytes.len()
        };
        let mut lengths = Vec::new();
        while !bytes.is_empty() {
            let cut = cut_of(bytes);
            lengths.push(cut);
            bytes = &bytes[cut..];
        }
        lengths
    }

    /// Feeds `bytes` in pieces of these sizes (repeated) through a buffer, as a stream would.
    fn lengths_streamed(chunker: &Chunker, bytes: &[u8], pieces: &[usize]) -> Vec<usize> {
        let (mut lengths, mut buffer, mut fed) = (Vec::new(), Vec::new(), 0);
        for piece in pieces.iter().cycle() {
            let end = (fed + piece).min(bytes.len());
            buffer.extend_from_slice(&bytes[fed..end]);
            fed = end;
            while let Some(cut) = chunker.next_cut(&buffer, fed == bytes.len()) {
                lengths.push(cut);
                buffer.drain(..cut);
            }
            if fed == bytes.len() {
                break;
            }
        }
        lengths
    }

    #[test]
    fn golden_cut_points_of_the_default_profile() {
        let cuts = lengths(&chunker(&Profile::COARSE), &seeded(1, 3 << 20));
        assert_eq!(
            cuts,
            [133661, 263752, 393549, 302239, 288268, 378558, 275723, 346434, 275946, 155064, 332534]
        );
    }

    #[test]
    fn golden_numbers_of_the_gear_table() {
        let table = GearTable::derive(&KEY);
        assert_eq!([table.0[0], table.0[255]], [0x2d71e330144bb55e, 0xa289a4855620b49d]);
    }

    #[test]
    fn cuts_are_those_of_the_definition() {
        let bytes = seeded(2, 50_000);
        assert_eq!(lengths(&chunker(&small()), &bytes), lengths_by_definition(&small(), &bytes));
    }

    #[test]
    fn every_chunk_but_the_last_keeps_the_bounds_and_the_mean_is_near_the_average() {
        let profile = small();
        let cuts = lengths(&chunker(&profile), &seeded(3, 400_000));
        let (_, full) = cuts.split_last().unwrap();
        assert!(full.iter().all(|cut| (64..=1024).contains(cut)));
        let mean = full.iter().sum::<usize>() / full.len();
        assert!((200..=350).contains(&mean), "mean {mean}");
    }

    #[test]
    fn a_run_of_equal_bytes_is_cut_into_equal_chunks() {
        let cuts = lengths(&chunker(&small()), &vec![0; 10_000]);
        let (_, full) = cuts.split_last().unwrap();
        assert!(full.iter().all(|cut| *cut == full[0]));
    }

    #[test]
    fn another_key_cuts_elsewhere() {
        let bytes = seeded(4, 20_000);
        let other = Chunker::new(&small(), &GearTable::derive(&[8; 32]));
        assert_ne!(lengths(&chunker(&small()), &bytes), lengths(&other, &bytes));
    }

    #[test]
    fn profiles_that_cannot_work_are_refused() {
        use ProfileError::{AverageNotPowerOfTwo, MaxTooLarge, MinTooSmall, NotRising};
        for (min, average, max, error) in [
            (63, 256, 1024, MinTooSmall(63)),
            (64, 255, 1024, AverageNotPowerOfTwo(255)),
            (64, 128, 1024, AverageNotPowerOfTwo(128)),
            (256, 256, 1024, NotRising { min: 256, average: 256, max: 1024 }),
            (64, 256, 256, NotRising { min: 64, average: 256, max: 256 }),
            (64, 256, (16 << 20) + 1, MaxTooLarge((16 << 20) + 1)),
        ] {
            assert_eq!(Profile::new(1, min, average, max), Err(error));
        }
        let Profiles { coarse, fine } = Profiles::DEFAULT;
        for profile in [coarse, fine] {
            assert_eq!(Profile::of_settings(&profile.to_settings()), Ok(profile));
        }
    }

    #[test]
    fn the_settings_tell_the_profiles() {
        let settled = |number, average, max| ChunkerProfile { number, min: 64, average, max };
        assert_eq!(Profiles::in_force(&[]), Ok(Profiles::DEFAULT));
        assert_eq!(Profiles::in_force(&Profiles::DEFAULT.to_settings()), Ok(Profiles::DEFAULT));
        let numbers = |settled: &[ChunkerProfile]| {
            let Profiles { coarse, fine } = Profiles::in_force(settled).unwrap();
            (coarse.number(), fine.number())
        };
        assert_eq!(numbers(&[settled(2, 256, 512)]), (2, 2));
        assert_eq!(numbers(&[settled(2, 256, 512), settled(7, 256, 1024)]), (7, 7));
        assert_eq!(numbers(&[settled(2, 512, 1024), settled(3, 256, 512), settled(4, 1024, 4096)]), (4, 3));
        // What this build cannot cut by must not quietly become another profile.
        assert!(Profiles::in_force(&[settled(1, 256, 512), settled(2, 256, 256)]).is_err());
    }

    #[test]
    fn large_files_that_compress_are_cut_finely_and_nobody_asks_of_others() {
        let chunkers = Chunkers::new(&Profiles::DEFAULT, &GearTable::derive(&KEY));
        let of = |size, compresses| chunkers.of_file(size, || compresses).profile_number();
        let (coarse, fine) = (Profile::COARSE.number(), Profile::FINE.number());
        assert_eq!(of(Some(FINE_FILE_BYTES_MIN), true), fine);
        assert_eq!(of(Some(FINE_FILE_BYTES_MIN), false), coarse);
        assert_eq!((of(None, true), of(None, false)), (fine, coarse));
        let small = chunkers.of_file(Some(FINE_FILE_BYTES_MIN - 1), || unreachable!("it is small"));
        assert_eq!(small.profile_number(), coarse);
        assert_eq!(chunkers.numbered(fine).map(Chunker::max_bytes), Some(128 << 10));
        assert!(chunkers.numbered(0).is_none());
    }

    #[test]
    fn nothing_is_cut_from_nothing_and_an_end_is_always_a_cut() {
        let chunker = chunker(&small());
        assert_eq!(chunker.next_cut(&[], true), None);
        assert_eq!(chunker.next_cut(&[1], false), None);
        assert_eq!(chunker.next_cut(&[1], true), Some(1));
        assert!(chunker.next_cut(&seeded(5, chunker.max_bytes()), false).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_split_of_the_stream_gives_the_same_cuts(
            seed: u8,
            length in 0_usize..12_000,
            pieces in prop::collection::vec(1_usize..3000, 1..8),
        ) {
            let chunker = chunker(&small());
            let bytes = seeded(seed, length);
            prop_assert_eq!(lengths_streamed(&chunker, &bytes, &pieces), lengths(&chunker, &bytes));
        }

        #[test]
        fn an_insertion_moves_only_the_cuts_near_it(seed: u8, inserted in prop::collection::vec(any::<u8>(), 1..40)) {
            let chunker = chunker(&small());
            let before = seeded(seed, 40_000);
            let mut after = before[..10_000].to_vec();
            after.extend_from_slice(&inserted);
            after.extend_from_slice(&before[10_000..]);
            let ends = |bytes: &[u8], shift: usize| -> std::collections::BTreeSet<usize> {
                lengths(&chunker, bytes)
                    .iter()
                    .scan(0, |end, length| { *end += length; Some(*end) })
                    .filter(|end| *end > 10_000 + shift)
                    .map(|end| end - shift)
                    .collect()
            };
            let (old, new) = (ends(&before, 0), ends(&after, inserted.len()));
            let kept = old.intersection(&new).count();
            prop_assert!(kept * 10 >= old.len() * 7, "only {} of {} cuts stayed", kept, old.len());
        }
    }
}
