//! The roots of a live or stored tree: RFC 6962 hashes over its entries, computed without any key.
//!
//! Specification: `docs/format/tree.md`, chapter 5.

use crate::entry::{Portable, TreePath};
use crate::error::{Error, Kind, Result};
use crate::id::to_hex;
use crate::suite::sha256;
use crate::tree::{content_bytes, portable_bytes};

/// What a tree is compared by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Roots {
    /// Over every portable part: equal if and only if the trees are.
    pub manifest: [u8; 32],
    /// Over paths, kinds, sizes and digests or targets alone.
    pub content: [u8; 32],
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roots {{ manifest: {}, content: {} }}", to_hex(&self.manifest), to_hex(&self.content))
    }
}

/// Computes both roots of a tree from its entries in path order, in memory that grows with the logarithm of their number.
#[derive(Debug, Clone, Default)]
pub struct RootHasher {
    manifest: MerkleHasher,
    content: MerkleHasher,
    previous: Option<TreePath>,
}

impl RootHasher {
    /// A hasher of no entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// [`Kind::Bug`] if its path does not come after the one before.
    pub fn push(&mut self, portable: &Portable) -> Result<()> {
        if self.previous.as_ref().is_some_and(|previous| *previous >= portable.path) {
            return Err(Error::new(
                Kind::Bug,
                format!("hash entry \"{}\" into the roots: out of order", portable.path),
            ));
        }
        self.previous = Some(portable.path.clone());
        self.push_encoded(&portable_bytes(portable), &content_bytes(portable));
        Ok(())
    }

    /// Adds the next entry's leaves; the caller has checked the order.
    pub(crate) fn push_encoded(&mut self, portable: &[u8], content: &[u8]) {
        self.manifest.push(portable);
        self.content.push(content);
    }

    /// The roots over everything added.
    pub fn finish(self) -> Roots {
        Roots { manifest: self.manifest.finish(), content: self.content.finish() }
    }
}

/// The Merkle tree hash of RFC 6962 with SHA-256, leaf by leaf.
#[derive(Debug, Clone, Default)]
pub struct MerkleHasher {
    /// Roots of the complete subtrees so far, the largest first; their sizes are the set bits of `leaves`.
    subtrees: Vec<[u8; 32]>,
    leaves: u64,
}

impl MerkleHasher {
    /// A tree of no leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf with these bytes.
    pub fn push(&mut self, leaf: &[u8]) {
        let mut hash = sha256(&[&[0], leaf]);
        for _ in 0..self.leaves.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.subtrees.push(hash);
        self.leaves += 1;
    }

    /// Number of leaves so far.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The tree's hash.
    pub fn finish(self) -> [u8; 32] {
        let mut from_right = self.subtrees.into_iter().rev();
        match from_right.next() {
            None => sha256(&[]),
            Some(last) => from_right.fold(last, |right, left| node_hash(&left, &right)),
        }
    }
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256(&[&[1], left, right])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_known_certificate_transparency_vectors() {
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (count, root) in roots.iter().enumerate() {
            let mut hasher = MerkleHasher::new();
            leaves[..count].iter().for_each(|leaf| hasher.push(leaf));
            assert_eq!(to_hex(&hasher.finish()), *root, "{count} leaves");
        }
    }

    /// RFC 6962, 2.1, word for word.
    fn by_definition(leaves: &[Vec<u8>]) -> [u8; 32] {
        match leaves {
            [] => sha256(&[]),
            [leaf] => sha256(&[&[0], leaf]),
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                node_hash(&by_definition(left), &by_definition(right))
            }
        }
    }

    proptest! {
        #[test]
        fn the_incremental_hash_is_the_recursive_definition(leaves: Vec<Vec<u8>>) {
            let mut hasher = MerkleHasher::new();
            leaves.iter().for_each(|leaf| hasher.push(leaf));
            prop_assert_eq!(hasher.finish(), by_definition(&leaves));
        }
    }
}
