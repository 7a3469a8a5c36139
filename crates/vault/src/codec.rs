//! Bounded reading and canonical writing of the format's primitive values.
//!
//! Integers are little-endian; `varint` is LEB128 in its shortest form; `bytes` is a varint length and that many
//! bytes. Reading never allocates by a length that the input does not contain.

use crate::error::{Error, Result};

/// Appends primitive values to a buffer.
#[derive(Debug, Clone, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// The bytes written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Appends a little-endian u32.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a little-endian u64.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a little-endian i64.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a shortest-form LEB128 integer.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    /// Appends bytes without a length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a varint length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(bytes.len() as u64).raw(bytes)
    }
}

/// Reads primitive values from a slice; `what` names the object in errors.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Decoder<'a> {
    /// Reads from `bytes`, which are called `what` in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// A damaged-bytes error naming this object.
    pub fn error(&self, problem: &str) -> Error {
        Error::damaged(format!("decode {}: {problem}", self.what))
    }

    /// The next `len` bytes.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8]> {
        if len > self.rest.len() {
            return Err(self.error("ends too early"));
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.raw(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A little-endian u32.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A little-endian u64.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A little-endian i64.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A shortest-form LEB128 integer.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.error("number too large"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error("number not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(self.error("number too long"))
    }

    /// A varint that fits a u32.
    pub fn varint_u32(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| self.error("number too large"))
    }

    /// A count of items that take at least `item_bytes_min` bytes each, so that it is safe to reserve room for.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<usize> {
        let count = self.varint()?;
        let possible = self.rest.len() / item_bytes_min.max(1);
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= possible)
            .ok_or_else(|| self.error("count exceeds the bytes that follow"))
    }

    /// Length-prefixed bytes of at most `len_max`.
    pub fn bytes(&mut self, len_max: usize) -> Result<&'a [u8]> {
        let len = self.varint()?;
        match usize::try_from(len) {
            Ok(len) if len <= len_max => self.raw(len),
            _ => Err(self.error("byte string too long")),
        }
    }

    /// Succeeds only when everything was read.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error("has bytes after its end")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip_in_one_form_only(value: u64, junk: Vec<u8>) {
            let mut encoder = Encoder::new();
            encoder.varint(value);
            let bytes = encoder.finish();
            let mut decoder = Decoder::new(&bytes, "test");
            prop_assert_eq!(decoder.varint().unwrap(), value);
            decoder.finish().unwrap();
            let mut decoder = Decoder::new(&junk, "test");
            if let Ok(value) = decoder.varint() {
                let read = junk.len() - decoder.remaining();
                let mut encoder = Encoder::new();
                encoder.varint(value);
                prop_assert_eq!(encoder.as_slice(), &junk[..read]);
            }
        }
    }

    #[test]
    fn a_count_larger_than_its_input_is_refused() {
        let mut encoder = Encoder::new();
        encoder.varint(1 << 40).raw(&[0; 64]);
        let bytes = encoder.finish();
        assert!(Decoder::new(&bytes, "test").count(1).is_err());
    }
}
