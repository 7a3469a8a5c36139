//! What a backup may hold in memory: one budget, divided once. Pure.
//!
//! Every queue and every buffer of a run that can be large takes its bound from its [`Share`] here, so that the sum is known
//! before the first byte is read. What every run needs is granted first; what is left goes, in the order of
//! [`Shares::divide`], to whatever makes it faster, up to what is of use.

use shudao_vault::frame::FRAME_BYTES_TARGET;
use shudao_vault::index::PAGE_CACHE_BYTES;
use shudao_vault::pack::PACK_BYTES_TARGET;

/// The budget of a backup in bytes: 640 MiB. A run on two processors into one replica has use for about half of it.
pub const BUDGET_BYTES: usize = 640 << 20;

const MIB: usize = 1 << 20;
/// Metadata packs are small: a run that changed little must not wait for, nor waste, a large one.
const METADATA_PACK_BYTES: usize = 8 * MIB;
/// Directories of stored packs until their segment is written, and that segment.
const SEGMENT_BYTES: usize = 16 * MIB;
/// What a reader reads at once.
pub(crate) const READ_BYTES: usize = MIB;
/// The block of a large file that is not hashed yet.
const HASH_BLOCK_BYTES: usize = 64 << 10;
/// Contexts of the compressor.
const COMPRESSOR_BYTES: usize = 4 * MIB;
/// Paths between pump and assembler; their attributes count too, mostly none.
const SLOTS: usize = 512;
const SLOT_BYTES: usize = 2 << 10;
/// Frames open, one of each kind, and in the hands of the pump and of the assembler.
const FRAMES_HELD: usize = 4;
/// More threads are of no use.
const THREADS_MAX: usize = 16;
/// More opened frames are of no use: a tree is read forwards.
const OPENED_BYTES_MAX: usize = 48 * MIB;
/// More names than this are sorted on disk anyway.
const NAMES_BYTES_MAX: usize = 64 * MIB;
/// Names and opened frames grow by this.
const STEP_BYTES: usize = 4 * MIB;

/// What a run asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Processors to use, at least 1; more than 16 are of no use.
    pub processors: usize,
    /// Replicas to bring everything to, at least 1.
    pub replicas: usize,
    /// The longest chunk of the vault's profile.
    pub chunk_bytes_max: usize,
}

/// A part of the budget: so many of something of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many may be in memory at the same time.
    pub count: usize,
    /// Bytes of each at most.
    pub each_bytes: usize,
}

/// The budget, divided. *Invariant:* [`Shares::bytes`] is at most the budget that it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Content packs being filled, waiting, or on their way to the fastest replica; at least 2.
    pub content_packs: Share,
    /// Metadata packs, the same; at least 2.
    pub metadata_packs: Share,
    /// Frames that wait to be sealed; at least 1.
    pub frames_waiting: Share,
    /// Frames being filled, or about to be offered.
    pub frames_held: Share,
    /// Threads that read: what is read, what is not cut yet in a vector that doubles, a frame in hand, a block to hash.
    pub readers: Share,
    /// The assembler, where it has to read a file itself.
    pub assembler: Share,
    /// Threads that seal: the plain, compressed and sealed frame, the frame opened again, and the compressor.
    pub sealers: Share,
    /// Objects on their way to a replica; the first replica's are packs that count above.
    pub uploads: Share,
    /// Further replicas: each has so many uploads of its own.
    pub further_replicas: usize,
    /// Objects that one replica has and another waits for, kept in memory beyond those on their way.
    pub lingering: Share,
    /// Directories of stored packs until their segment is written, and that segment.
    pub segment: Share,
    /// Opened frames of the parent's tree.
    pub opened_frames: Share,
    /// Pages of the index.
    pub index_pages: Share,
    /// Names of the directories being walked; more are sorted on disk.
    pub names: Share,
    /// Paths between pump and assembler.
    pub slots: Share,
}

impl Share {
    const fn new(count: usize, each_bytes: usize) -> Self {
        Self { count, each_bytes }
    }

    /// Bytes of all of it.
    pub const fn bytes(self) -> usize {
        self.count.saturating_mul(self.each_bytes)
    }
}

impl Shares {
    /// Divides a budget; `None` if it is below [`Shares::least`].
    pub fn divide(budget_bytes: usize, demand: Demand) -> Option<Self> {
        let mut shares = Self::least(demand);
        let left = budget_bytes.checked_sub(shares.bytes())?;
        let mut left = Left(left);
        let threads = demand.processors.clamp(1, THREADS_MAX);
        // First what keeps the line busy and the processors; then the other replicas; then what spares reading again.
        left.grow(&mut shares.content_packs, 4);
        left.grow_threads(&mut shares, threads.min(THREADS_MAX / 2));
        let further = shares.further_replicas;
        if further > 0 {
            shares.uploads.count += left.take(1, further.saturating_mul(shares.uploads.each_bytes));
            left.grow(&mut shares.lingering, 2);
        } else {
            // Packs of the only replica count above.
            shares.uploads.count = 2;
        }
        left.grow(&mut shares.frames_waiting, 4);
        for part in [2, 1] {
            left.grow(&mut shares.opened_frames, OPENED_BYTES_MAX / STEP_BYTES / part);
            left.grow(&mut shares.names, NAMES_BYTES_MAX / STEP_BYTES / part);
            left.grow_threads(&mut shares, threads);
        }
        Some(shares)
    }

    /// What a run needs at least to come to its end.
    pub fn least(demand: Demand) -> Self {
        let chunk = demand.chunk_bytes_max;
        // A chunk that is longer than a frame is to be fills one by itself.
        let frame = chunk.max(FRAME_BYTES_TARGET);
        let uncut = chunk.saturating_add(READ_BYTES).saturating_mul(2);
        let reader = uncut.saturating_add(READ_BYTES + HASH_BLOCK_BYTES).saturating_add(frame);
        let sealer = frame.saturating_mul(4).saturating_add(COMPRESSOR_BYTES);
        let pack = PACK_BYTES_TARGET.max(frame);
        Self {
            content_packs: Share::new(2, pack),
            metadata_packs: Share::new(2, METADATA_PACK_BYTES),
            frames_waiting: Share::new(1, frame),
            frames_held: Share::new(FRAMES_HELD, frame),
            readers: Share::new(1, reader),
            assembler: Share::new(1, reader),
            sealers: Share::new(1, sealer),
            uploads: Share::new(1, pack),
            further_replicas: demand.replicas.saturating_sub(1),
            lingering: Share::new(0, pack),
            segment: Share::new(1, SEGMENT_BYTES),
            opened_frames: Share::new(1, STEP_BYTES),
            index_pages: Share::new(1, PAGE_CACHE_BYTES),
            names: Share::new(1, STEP_BYTES),
            slots: Share::new(SLOTS, SLOT_BYTES),
        }
    }

    /// The usual budget, divided; the least that this run needs where that is more, because the vault's chunks are long.
    pub fn of_run(demand: Demand) -> Self {
        Self::divide(BUDGET_BYTES, demand).unwrap_or_else(|| Self::least(demand))
    }

    /// What each thing may hold, as people are told it. The rows' bytes sum to [`Shares::bytes`].
    pub fn rows(&self) -> [(&'static str, usize); 14] {
        let further = self.further_replicas.saturating_mul(self.uploads.bytes());
        [
            ("content packs", self.content_packs.bytes()),
            ("metadata packs", self.metadata_packs.bytes()),
            ("frames that wait", self.frames_waiting.bytes()),
            ("frames in hand", self.frames_held.bytes()),
            ("readers", self.readers.bytes()),
            ("the assembler", self.assembler.bytes()),
            ("sealers", self.sealers.bytes()),
            ("uploads to further replicas", further),
            ("packs that a slower replica waits for", self.lingering.bytes()),
            ("a segment", self.segment.bytes()),
            ("opened frames", self.opened_frames.bytes()),
            ("pages of the index", self.index_pages.bytes()),
            ("names", self.names.bytes()),
            ("paths on their way", self.slots.bytes()),
        ]
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> usize {
        self.rows().iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

/// What is not granted yet, in bytes.
struct Left(usize);

impl Left {
    /// Grants up to `wanted` pieces, as many as there is room for.
    fn take(&mut self, wanted: usize, each_bytes: usize) -> usize {
        let granted = wanted.min(self.0.checked_div(each_bytes).unwrap_or(wanted));
        self.0 -= granted * each_bytes;
        granted
    }

    /// Lets readers and sealers grow together.
    fn grow_threads(&mut self, shares: &mut Shares, count: usize) {
        let a_thread = shares.readers.each_bytes.saturating_add(shares.sealers.each_bytes);
        let more = self.take(count.saturating_sub(shares.readers.count), a_thread);
        shares.readers.count += more;
        shares.sealers.count += more;
    }

    /// Lets a share grow to `count` pieces, as far as there is room.
    fn grow(&mut self, share: &mut Share, count: usize) {
        share.count += self.take(count.saturating_sub(share.count), share.each_bytes);
    }
}

/// The shares of a run into one replica on two processors.
#[cfg(test)]
pub(crate) fn usual() -> Shares {
    Shares::of_run(Demand { processors: 2, replicas: 1, chunk_bytes_max: MIB })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USUAL: Demand = Demand { processors: 2, replicas: 1, chunk_bytes_max: MIB };

    proptest! {
        #[test]
        fn the_shares_of_any_budget_sum_to_at_most_it(
            budget in prop_oneof![0_usize..4 << 30, Just(usize::MAX), Just(0)],
            processors in 0_usize..200,
            replicas in 0_usize..20,
            chunk_bytes_max in 64_usize..=64 << 20,
        ) {
            let demand = Demand { processors, replicas, chunk_bytes_max };
            let least = Shares::least(demand);
            let Some(shares) = Shares::divide(budget, demand) else {
                prop_assert!(budget < least.bytes());
                return Ok(());
            };
            prop_assert!(shares.bytes() <= budget);
            prop_assert!(shares.bytes() >= least.bytes());
            for (row, floor) in shares.rows().iter().zip(least.rows()) {
                prop_assert!(row.1 >= floor.1, "{} is below what a run needs", row.0);
            }
            prop_assert_eq!(shares.readers.count, shares.sealers.count);
            prop_assert!((1..=16).contains(&shares.readers.count));
            prop_assert!(shares.content_packs.count >= 2 && shares.metadata_packs.count >= 2);
            prop_assert!(shares.uploads.count >= 1 && shares.frames_waiting.count >= 1);
        }

        #[test]
        fn a_larger_budget_never_gives_less_in_all(
            budget in 0_usize..2 << 30,
            more in 0_usize..1 << 30,
            processors in 1_usize..20,
            replicas in 1_usize..5,
        ) {
            let demand = Demand { processors, replicas, chunk_bytes_max: MIB };
            let bytes = |budget| Shares::divide(budget, demand).map_or(0, |shares| shares.bytes());
            // A piece that fits now may take the place of several smaller ones that did before.
            prop_assert!(bytes(budget + more) + PACK_BYTES_TARGET * replicas >= bytes(budget));
        }
    }

    #[test]
    fn the_usual_budget_gives_a_usual_run_all_that_is_of_use() {
        let all = Shares::divide(usize::MAX, USUAL).unwrap();
        assert_eq!(Shares::divide(BUDGET_BYTES, USUAL), Some(all));
        let two = Demand { replicas: 2, ..USUAL };
        assert_eq!(Shares::divide(BUDGET_BYTES, two), Shares::divide(usize::MAX, two));
    }

    #[test]
    fn the_table_in_the_documents_is_what_is_divided() {
        let text = include_str!("../../../ARCHITECTURE.md");
        let large = Demand { processors: 16, replicas: 3, chunk_bytes_max: MIB };
        let columns = [USUAL, large].map(|demand| Shares::divide(BUDGET_BYTES, demand).unwrap());
        for ((what, usual), (_, large)) in columns[0].rows().into_iter().zip(columns[1].rows()) {
            let mib = |bytes: usize| format!("{:.1}", bytes as f64 / MIB as f64);
            let row = format!("| {} | {} |", mib(usual), mib(large));
            let line = text.lines().find(|line| line.starts_with(&format!("| {what} |")));
            assert!(line.is_some_and(|line| line.ends_with(&row)), "{what}: {row}, and not {line:?}");
        }
        let sums = columns.map(|shares| format!("{:.1}", shares.bytes() as f64 / MIB as f64));
        assert!(text.contains(&format!("| **all** | | {} | {} |", sums[0], sums[1])), "{sums:?}");
    }
}
