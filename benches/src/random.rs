//! Numbers and bytes from a seed: the same on every machine.

use blake3::OutputReader;

/// A stream of bytes from a seed.
#[derive(Debug, Clone)]
pub struct Random(OutputReader);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    /// Fills `bytes` with what does not compress.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`; zero if that is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `low` up to but without `high`, small ones as likely as large ones by order of magnitude.
    pub fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let orders = u64::from((high / low.max(1)).max(1).ilog2());
        let order = low.max(1) << self.below(orders.max(1));
        order + self.below(order)
    }
}
