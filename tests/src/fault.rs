//! What the S3 server in this process does wrong when a test asks for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// One way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers 503 without doing anything.
    Unavailable,
    /// Does what was asked and then answers 500, as a proxy does whose backend was too slow.
    LostAnswer,
    /// Closes the connection without an answer and without doing anything.
    HangUp,
    /// Announces the whole body, sends half of it and closes the connection.
    HalfBody,
    /// Sends a body of the right length with one bit changed.
    FlippedBit,
    /// Answers late.
    Delay(Duration),
}

/// Which requests a fault meets.
#[derive(Debug, Clone)]
pub struct Target {
    /// The HTTP method.
    pub method: &'static str,
    /// A part of the path and query; the empty string meets every request.
    pub part: &'static str,
}

/// The faults still to come, and what was asked so far.
#[derive(Debug, Default)]
pub struct Faults {
    planned: Mutex<VecDeque<(Target, Fault)>>,
    requests: Mutex<Vec<String>>,
}

impl Faults {
    /// The next `count` requests that `target` describes meet `fault`.
    pub fn plan(&self, target: &Target, fault: Fault, count: usize) {
        lock(&self.planned).extend(std::iter::repeat_n((target.clone(), fault), count));
    }

    /// Plans no fault any more.
    pub fn forgive(&self) {
        lock(&self.planned).clear();
    }

    /// How many planned faults no request has met yet.
    pub fn left(&self) -> usize {
        lock(&self.planned).len()
    }

    /// The requests so far, as `METHOD /path?query`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.requests).clone()
    }

    /// Records a request and takes the fault that it meets.
    pub fn meet(&self, method: &str, path: &str) -> Option<Fault> {
        lock(&self.requests).push(format!("{method} {path}"));
        let mut planned = lock(&self.planned);
        let meets = |(target, _): &(Target, Fault)| target.method == method && path.contains(target.part);
        let place = planned.iter().position(meets)?;
        planned.remove(place).map(|(_, fault)| fault)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_only_its_target_and_only_as_often_as_planned() {
        let faults = Faults::default();
        faults.plan(&Target { method: "PUT", part: "/log/" }, Fault::Unavailable, 2);
        assert_eq!(faults.meet("GET", "/b/log/1"), None);
        assert_eq!(faults.meet("PUT", "/b/packs/1"), None);
        assert_eq!(faults.meet("PUT", "/b/log/1"), Some(Fault::Unavailable));
        assert_eq!(faults.left(), 1);
        assert_eq!(faults.meet("PUT", "/b/log/1"), Some(Fault::Unavailable));
        assert_eq!(faults.meet("PUT", "/b/log/1"), None);
        assert_eq!(faults.requests().len(), 5);
    }
}
