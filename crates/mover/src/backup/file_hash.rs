//! BLAKE3 of a file, in a form that can be put down and taken up again.
//!
//! BLAKE3 is a tree over blocks of the file. Of complete blocks nothing is needed but the chaining values of the
//! subtrees that they make up: one for each bit that is set in their number, as in a binary counter. Of the block that is
//! being filled the bytes themselves are needed, and those are content: a saved state leaves them out, and whoever goes
//! on reads them again.
//!
//! A block is added to the counter only once a byte after it is known: the last one must stay apart, because the root
//! is hashed otherwise than every other node.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use shudao_vault::id::Digest;
use shudao_vault::resume::{HASH_BLOCK_BYTES, HashState};

const BLOCK: usize = HASH_BLOCK_BYTES as usize;

/// Hashes a file.
#[derive(Debug, Clone, Default)]
pub(super) struct FileHasher {
    /// Complete subtrees, largest first.
    subtrees: Vec<ChainingValue>,
    /// Number of blocks in them.
    blocks: u64,
    /// What follows them: at most one block, empty only at the file's start.
    rest: Vec<u8>,
}

impl FileHasher {
    /// A hasher of no bytes.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Goes on behind the first [`HashState::hashed`] bytes; those after it are to be given.
    pub(super) fn take_up(state: &HashState) -> Self {
        Self {
            subtrees: state.subtrees().to_vec(),
            blocks: state.hashed() / HASH_BLOCK_BYTES,
            rest: Vec::new(),
        }
    }

    /// What [`FileHasher::take_up`] needs, [`HashState::hashed`] being at most one block before the bytes given so far.
    pub(super) fn state(&self) -> HashState {
        HashState::of_blocks(self.blocks, self.subtrees.clone())
    }

    /// Adds the file's next bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest.len() == BLOCK {
                let rest = std::mem::take(&mut self.rest);
                self.add_block(&rest);
                self.rest = rest;
                self.rest.clear();
            }
            // Whole blocks are hashed where they are; the last one waits until it is known not to be the last.
            while self.rest.is_empty() && bytes.len() > BLOCK {
                let (block, behind) = bytes.split_at(BLOCK);
                self.add_block(block);
                bytes = behind;
            }
            let (taken, behind) = bytes.split_at(bytes.len().min(BLOCK - self.rest.len()));
            self.rest.extend_from_slice(taken);
            bytes = behind;
        }
    }

    /// Adds so many zeros.
    pub(super) fn update_zeros(&mut self, mut length: u64) {
        static ZEROS: [u8; BLOCK] = [0; BLOCK];
        while length > 0 {
            let piece = length.min(HASH_BLOCK_BYTES);
            self.update(&ZEROS[..piece as usize]);
            length -= piece;
        }
    }

    /// BLAKE3 of all bytes.
    pub(super) fn finish(mut self) -> Digest {
        let Some(first) = self.subtrees.first().copied() else { return Digest::of(&self.rest) };
        let mut right = self.subtree(&self.rest);
        for left in self.subtrees.split_off(1).iter().rev() {
            right = merge_subtrees_non_root(left, &right, Mode::Hash);
        }
        Digest(*merge_subtrees_root(&first, &right, Mode::Hash).as_bytes())
    }

    /// Adds a complete block that is not the last, joining subtrees of equal size as a counter carries.
    fn add_block(&mut self, block: &[u8]) {
        let mut subtree = self.subtree(block);
        self.blocks += 1;
        for _ in 0..self.blocks.trailing_zeros() {
            if let Some(left) = self.subtrees.pop() {
                subtree = merge_subtrees_non_root(&left, &subtree, Mode::Hash);
            }
        }
        self.subtrees.push(subtree);
    }

    /// The chaining value of the block that follows the complete ones; `block` is not empty.
    fn subtree(&self, block: &[u8]) -> ChainingValue {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(self.blocks * HASH_BLOCK_BYTES).update(block);
        hasher.finalize_non_root()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn fed(bytes: &[u8], pieces: &[usize]) -> FileHasher {
        let mut hasher = FileHasher::new();
        let mut rest = bytes;
        for piece in pieces.iter().cycle() {
            let (taken, behind) = rest.split_at(rest.len().min(*piece));
            hasher.update(taken);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        hasher
    }

    #[test]
    fn the_digest_is_that_of_the_whole_around_every_size_that_matters() {
        for blocks in [0, 1, 2, 3, 4, 5, 7, 8, 9, 16] {
            for extra in [-1_isize, 0, 1, 1023, 1024, 1025] {
                let Some(length) = (blocks * BLOCK).checked_add_signed(extra) else { continue };
                let bytes = bytes(1, length);
                for pieces in [&[BLOCK][..], &[usize::MAX], &[1000, 70_000]] {
                    assert_eq!(fed(&bytes, pieces).finish(), Digest::of(&bytes), "{length} {pieces:?}");
                }
            }
        }
        assert_eq!(FileHasher::new().finish(), Digest::of(&[]));
    }

    #[test]
    fn zeros_are_hashed_as_the_bytes_that_they_are() {
        let mut hasher = FileHasher::new();
        hasher.update(b"head");
        hasher.update_zeros(200_000);
        hasher.update(b"tail");
        let whole = [&b"head"[..], &vec![0; 200_000], b"tail"].concat();
        assert_eq!(hasher.finish(), Digest::of(&whole));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_put_down_anywhere_and_taken_up_ends_as_if_it_had_never_been(
            seed: u8,
            length in 1_usize..1_500_000,
            at in any::<prop::sample::Index>(),
            pieces in prop::collection::vec(1_usize..200_000, 1..5),
        ) {
            let bytes = bytes(seed, length);
            let stop = at.index(length) + 1;
            let state = fed(&bytes[..stop], &pieces).state();
            let hashed = state.hashed() as usize;
            prop_assert!(hashed < stop && stop - hashed <= BLOCK);
            let mut again = FileHasher::take_up(&state);
            again.update(&bytes[hashed..]);
            prop_assert_eq!(again.finish(), Digest::of(&bytes));
        }
    }
}
