//! The names in one directory, sorted by their bytes.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::RawDir;

use super::NotRead;
use super::node::refused;

/// The names of a directory in order, each with its terminating NUL in one allocation, so that a million of them need
/// no more than their own bytes and eight more each.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Start and length, without the NUL.
    spans: Vec<(u32, u32)>,
    next: usize,
}

impl Names {
    /// The names in `directory`, which must be freshly opened.
    pub(super) fn list(directory: BorrowedFd<'_>) -> Result<Self, NotRead> {
        let mut names = Self::default();
        let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
        let mut listing = RawDir::new(directory, &mut buffer);
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(refused("list the directory"))?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                _ => names.push(entry.file_name())?,
            }
        }
        names.sort();
        Ok(names)
    }

    /// These names besides.
    pub(super) fn add<'a>(&mut self, others: impl IntoIterator<Item = &'a CString>) -> Result<(), NotRead> {
        for name in others {
            self.push(name)?;
        }
        self.sort();
        Ok(())
    }

    fn push(&mut self, name: &CStr) -> Result<(), NotRead> {
        let bytes = name.to_bytes();
        if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') {
            return Err(NotRead::BadListing);
        }
        let start = u32::try_from(self.bytes.len()).map_err(|_| NotRead::BadListing)?;
        let length = u32::try_from(bytes.len()).map_err(|_| NotRead::BadListing)?;
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        self.spans.push((start, length));
        Ok(())
    }

    /// Sorts, and drops the doubles that a directory changing under its reader can list.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |span: &(u32, u32)| &bytes[span.0 as usize..][..span.1 as usize];
        self.spans.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        self.spans.dedup_by(|one, other| name(one) == name(other));
    }

    /// The next name in order.
    pub(super) fn next(&mut self) -> Option<CString> {
        let (start, length) = *self.spans.get(self.next)?;
        self.next += 1;
        let name = &self.bytes[start as usize..][..length as usize];
        Some(CString::new(name).expect("a name from a C string holds no NUL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_sorted_by_bytes_and_once() {
        let given = [&b"b"[..], b"a-b", b"a", b"\xff", b"B", b"a"].map(|name| CString::new(name).unwrap());
        let mut names = Names::default();
        names.add(&given).unwrap();
        let sorted: Vec<_> = std::iter::from_fn(|| names.next()).map(CString::into_bytes).collect();
        assert_eq!(sorted, [&b"B"[..], b"a", b"a-b", b"b", b"\xff"]);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for bad in ["", ".", "..", "a/b"] {
            let added = Names::default().add(&[CString::new(bad).unwrap()]);
            assert_eq!(added, Err(NotRead::BadListing), "{bad:?}");
        }
    }
}
