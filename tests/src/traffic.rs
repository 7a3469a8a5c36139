//! What clients upload to the S3 server in this process: how much, and what of it twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use hyper::header::CONTENT_LENGTH;
use hyper::{Method, Request};

/// An upload as its request announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    key: String,
    bytes: u64,
}

impl Upload {
    /// The upload that a request is; `None` if it is another kind of request.
    pub fn announced<B>(request: &Request<B>) -> Option<Self> {
        let length = request.headers().get(CONTENT_LENGTH)?;
        let bytes = length.to_str().ok()?.parse::<u64>().ok()?;
        (request.method() == Method::PUT).then(|| Self { key: request.uri().path().to_owned(), bytes })
    }
}

/// Counts of uploads. Whole bodies are counted, also of those that broke off: more than was sent, never less.
#[derive(Debug, Default)]
pub struct Traffic {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    begun_bytes: u64,
    stored_bytes: u64,
    stored: BTreeMap<String, u64>,
}

impl Traffic {
    /// A client begins an upload.
    pub fn begins(&self, upload: &Upload) {
        self.lock().begun_bytes += upload.bytes;
    }

    /// An upload was stored, whether or not the client lives to hear of it.
    pub fn is_stored(&self, upload: Upload) {
        let mut counts = self.lock();
        counts.stored_bytes += upload.bytes;
        *counts.stored.entry(upload.key).or_default() += 1;
    }

    /// Bytes of all uploads, those included that were refused or broke off.
    pub fn begun_bytes(&self) -> u64 {
        self.lock().begun_bytes
    }

    /// Bytes of the uploads that were stored.
    pub fn stored_bytes(&self) -> u64 {
        self.lock().stored_bytes
    }

    /// Keys that were stored more than once.
    pub fn stored_again(&self) -> usize {
        self.lock().stored.values().filter(|times| **times > 1).count()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, bytes: u64) -> Upload {
        let request = Request::put(key).header(CONTENT_LENGTH, bytes).body(()).unwrap();
        Upload::announced(&request).unwrap()
    }

    #[test]
    fn what_breaks_off_is_counted_once_and_what_is_stored_again_is_seen() {
        assert_eq!(Upload::announced(&Request::get("/b/packs/1").body(()).unwrap()), None);
        let traffic = Traffic::default();
        traffic.begins(&put("/b/packs/1", 10));
        assert_eq!((traffic.begun_bytes(), traffic.stored_bytes(), traffic.stored_again()), (10, 0, 0));
        for stored_again in [0, 1] {
            traffic.begins(&put("/b/packs/1", 10));
            traffic.is_stored(put("/b/packs/1", 10));
            assert_eq!(traffic.stored_again(), stored_again);
        }
        assert_eq!((traffic.begun_bytes(), traffic.stored_bytes()), (30, 20));
    }
}
