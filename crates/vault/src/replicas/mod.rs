//! Several replicas of one vault, read as one.
//!
//! Immutable objects are byte-identical in all replicas, so any of them will do: a read asks the replica that was named
//! first and falls over to the next, object by object. A replica whose store does not answer goes to the end of the line
//! until it has answered again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::id::{NeedListId, VaultId};
use crate::log::duty::ReadList;
use crate::name::Name;
use crate::need::NeedChain;
use crate::objects::Objects;

/// The objects of one or more replicas of the same vault. Clones share what is known of their health.
#[derive(Clone)]
pub struct Siblings {
    members: Vec<Arc<Member>>,
}

struct Member {
    objects: Objects,
    is_sick: AtomicBool,
}

/// One replica in the order in which to ask.
#[derive(Clone, Copy)]
pub struct Sibling<'a>(&'a Member);

impl<'a> Sibling<'a> {
    /// Its objects.
    pub fn objects(&self) -> &'a Objects {
        &self.0.objects
    }

    /// Takes note of how a request to it ended: a store that gave no answer is asked last from now on, until it gives
    /// one.
    pub fn note<T>(&self, outcome: &Result<T>) {
        let is_sick = outcome.as_ref().is_err_and(|error| !speaks_of_the_object(error));
        self.0.is_sick.store(is_sick, Ordering::Relaxed);
    }
}

/// Whether an error speaks of the object that was asked for, and not of the store as a whole.
fn speaks_of_the_object(error: &Error) -> bool {
    matches!(error.kind(), Kind::Missing | Kind::Damaged | Kind::Unsupported)
}

impl Siblings {
    /// These replicas, the first one to be asked first. There must be at least one to read anything.
    pub fn new(objects: impl IntoIterator<Item = Objects>) -> Self {
        let member = |objects| Arc::new(Member { objects, is_sick: AtomicBool::new(false) });
        Self { members: objects.into_iter().map(member).collect() }
    }

    /// All but the one at `place`.
    #[must_use]
    pub fn except(&self, place: usize) -> Self {
        let others = self.members.iter().enumerate().filter(|(other, _)| *other != place);
        Self { members: others.map(|(_, member)| Arc::clone(member)).collect() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// All of them, in the order in which to ask now.
    pub fn in_order(&self) -> impl Iterator<Item = Sibling<'_>> {
        let mut members: Vec<&Member> = self.members.iter().map(Arc::as_ref).collect();
        members.sort_by_key(|member| member.is_sick.load(Ordering::Relaxed));
        members.into_iter().map(Sibling)
    }

    /// The whole object, whose bytes hash to its name, from the first replica that has it.
    ///
    /// # Errors
    /// When no replica gives it: see [`Failures::into_error`].
    pub async fn read(&self, name: &Name) -> Result<Bytes> {
        let mut failures = Failures::default();
        for sibling in self.in_order() {
            let read = sibling.objects().read(name).await;
            sibling.note(&read);
            match read {
                Ok(bytes) => return Ok(bytes),
                Err(error) => failures.add(error),
            }
        }
        Err(failures.into_error(|| format!("read {name}")))
    }
}

impl Siblings {
    /// A need list, read through the lists that it builds on.
    ///
    /// # Errors
    /// As [`Siblings::read`]; [`Kind::Damaged`] if the lists contradict each other.
    pub async fn need_list(&self, vault: VaultId, id: NeedListId) -> Result<ReadList> {
        let mut chain = NeedChain::to(vault, id);
        while let Some(id) = chain.next() {
            chain.take(&self.read(&Name::index(id)).await?)?;
        }
        chain.resolve()
    }
}

/// Why each replica asked so far did not give what was wanted.
#[derive(Debug, Default)]
pub struct Failures(Option<Error>);

impl Failures {
    /// Takes note of one. Kept is the first, unless it only says that one replica lacks the object, or holds it damaged,
    /// and another could not be asked: then what is wanted may well exist.
    pub fn add(&mut self, error: Error) {
        let replaces = |kept: &Error| speaks_of_the_object(kept) && !speaks_of_the_object(&error);
        if self.0.as_ref().is_none_or(replaces) {
            self.0 = Some(error);
        }
    }

    /// The failure to report; [`Kind::Bug`] about `what` when nobody was asked.
    pub fn into_error(self, what: impl FnOnce() -> String) -> Error {
        self.0.unwrap_or_else(|| Error::new(Kind::Bug, format!("{}: there is no replica to ask", what())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::store::Store;

    fn three() -> (Siblings, [Objects; 3]) {
        let objects = [(); 3].map(|()| Objects::new(Store::memory()));
        (Siblings::new(objects.clone()), objects)
    }

    #[tokio::test]
    async fn an_object_is_read_from_whichever_replica_has_it_whole() {
        let (siblings, [first, second, third]) = three();
        let bytes = Bytes::from_static(b"right");
        let name = Name::pack(ObjectId::of(&bytes));
        assert_eq!(siblings.read(&name).await.unwrap_err().kind(), Kind::Missing);
        first.store().put(&name.plain_key(), Bytes::from_static(b"wrong")).await.unwrap();
        assert_eq!(siblings.read(&name).await.unwrap_err().kind(), Kind::Damaged);
        third.put(&name, bytes.clone()).await.unwrap();
        assert_eq!(siblings.read(&name).await.unwrap(), bytes);
        second.put(&name, bytes.clone()).await.unwrap();
        third.store().delete(&name.plain_key()).await.unwrap();
        assert_eq!(siblings.read(&name).await.unwrap(), bytes);
    }

    #[test]
    fn a_replica_that_does_not_answer_is_asked_last_until_it_answers() {
        let (siblings, _) = three();
        let order = || -> Vec<usize> {
            let place = |sibling: Sibling<'_>| {
                siblings.members.iter().position(|member| std::ptr::eq(member.as_ref(), sibling.0))
            };
            siblings.in_order().filter_map(place).collect()
        };
        assert_eq!(order(), [0, 1, 2]);
        let first = siblings.in_order().next().unwrap();
        first.note::<()>(&Err(Error::new(Kind::Missing, "it is not there")));
        assert_eq!(order(), [0, 1, 2]);
        first.note::<()>(&Err(Error::new(Kind::Unavailable, "no answer")));
        assert_eq!(order(), [1, 2, 0]);
        first.note(&Ok(()));
        assert_eq!(order(), [0, 1, 2]);
    }

    #[test]
    fn what_could_not_be_asked_outweighs_what_is_missing() {
        let mut failures = Failures::default();
        for kind in [Kind::Missing, Kind::Unavailable, Kind::Denied] {
            failures.add(Error::new(kind, "x"));
        }
        assert_eq!(failures.into_error(String::new).kind(), Kind::Unavailable);
    }
}
