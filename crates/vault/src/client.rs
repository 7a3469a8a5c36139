//! Who this client is, and what it found its stores to be able to do. Kept in the state directory.
//!
//! The name matters only to vaults with a store that cannot create-if-absent: their settings name the one client that
//! may write. Losing the state directory loses the name; then the owner takes the vault over.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::codec::Decoder;
use crate::error::Result;
use crate::id::ClientId;
use crate::remembered::{unusable, write};
use crate::store::{Capabilities, Store};
use crate::suite::random;

/// The name of the client whose state directory this is, drawn at random when it is asked for first.
///
/// # Errors
/// [`crate::Kind::Unavailable`] when the directory cannot be used, [`crate::Kind::Damaged`] when the name there is none.
pub fn client_id(state: &Path) -> Result<ClientId> {
    let path = state.join("client");
    if let Some(id) = read(&path)? {
        return Ok(id);
    }
    let drawn = state.join(format!("client-{}", ClientId(random())));
    let named = write(&drawn, &random::<{ ClientId::LEN }>()).and_then(|()| settle(&drawn, &path));
    named.map_err(|error| unusable(&path, error))?;
    let lost = || unusable(&path, io::Error::from(ErrorKind::NotFound));
    read(&path)?.ok_or_else(lost)
}

/// Gives the name its place unless another process was first.
fn settle(drawn: &Path, path: &Path) -> io::Result<()> {
    let linked = std::fs::hard_link(drawn, path);
    std::fs::remove_file(drawn)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<ClientId>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let mut input = Decoder::new(&bytes, "this client's name");
            let id = ClientId(input.array()?);
            input.finish()?;
            Ok(Some(id))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, error)),
    }
}

/// What the store can do, as this version of the client found it; found out now if it never did. The store then behaves
/// as [`Store::assume`] of the answer says.
///
/// # Errors
/// Those of [`Store::probe`]; [`crate::Kind::Unavailable`] when the state directory cannot be used.
pub async fn probe_once(state: &Path, store: &Store, version: &str) -> Result<Capabilities> {
    let path = place_of_probe(state, store);
    for create_if_absent in [true, false] {
        if std::fs::read(&path).is_ok_and(|found| found == note(version, create_if_absent)) {
            let capabilities = Capabilities { create_if_absent };
            store.assume(capabilities);
            return Ok(capabilities);
        }
    }
    probe_now(state, store, version).await
}

/// The same, found out now in any case.
///
/// # Errors
/// As [`probe_once`].
pub async fn probe_now(state: &Path, store: &Store, version: &str) -> Result<Capabilities> {
    let path = place_of_probe(state, store);
    let found = store.probe().await?;
    write(&path, &note(version, found.create_if_absent)).map_err(|error| unusable(&path, error))?;
    Ok(found)
}

fn note(version: &str, create_if_absent: bool) -> Vec<u8> {
    format!(
        "{version}\n{}\n",
        if create_if_absent { "creates if absent" } else { "does not create if absent" }
    )
    .into_bytes()
}

fn place_of_probe(state: &Path, store: &Store) -> PathBuf {
    let address = store.address().to_string();
    state.join("probes").join(blake3::hash(address.as_bytes()).to_hex().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use crate::store::faults::{Condition, Plan};

    #[test]
    fn a_client_keeps_the_name_that_it_drew_first() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let names: Vec<ClientId> = std::thread::scope(|scope| {
            let draw = || scope.spawn(|| client_id(one.path()).unwrap());
            let drawing = [draw(), draw(), draw(), draw()];
            drawing.into_iter().map(|drawn| drawn.join().unwrap()).collect()
        });
        assert!(names.iter().all(|name| *name == client_id(one.path()).unwrap()));
        assert_ne!(names[0], client_id(two.path()).unwrap());
        assert_eq!(std::fs::read_dir(one.path()).unwrap().count(), 1, "nothing else is left there");
        std::fs::write(one.path().join("client"), b"short").unwrap();
        assert_eq!(client_id(one.path()).unwrap_err().kind(), crate::Kind::Damaged);
    }

    #[tokio::test(start_paused = true)]
    async fn each_version_of_a_client_tries_a_store_once_and_behaves_by_what_it_found() {
        let state = tempfile::tempdir().unwrap();
        let under = Store::memory();
        for condition in [Condition::LastWins, Condition::FirstWins, Condition::Racy] {
            let plan = Plan { condition, ..Plan::default() };
            let (store, faults) = under.with_faults(plan, &StoreOptions::default());
            let version = format!("{condition:?}");
            for _ in 0..2 {
                assert!(
                    !probe_once(state.path(), &store, &version).await.unwrap().create_if_absent,
                    "{condition:?}"
                );
                assert!(!store.creates_if_absent());
                // What was found is not looked for again.
                faults.set_plan(Plan::default());
            }
            assert!(probe_once(state.path(), &store, "a newer one").await.unwrap().create_if_absent);
            std::fs::remove_dir_all(state.path().join("probes")).unwrap();
        }
    }
}
