//! What rots on a disk, and who mends it from the other replica.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::client::{Client, DAY};
use crate::error::{Error, Kind, Result};
use crate::id::Timestamp;
use crate::name::Name;
use crate::needed::{NeedReader, read_list_naming};
use crate::objects::read_hashed;
use crate::replica::Replica;
use crate::replicas::Siblings;
use crate::store::draw::Draw;
use crate::store::{Memory, Store};
use crate::sync::mend;

/// What is damaged on a replica, by key, and what it was before. Once it is whole again it must stay so.
#[derive(Default)]
pub(super) struct Damaged(RefCell<BTreeMap<String, Bytes>>);

impl Damaged {
    /// Damages something that the replica needs, if it and the sibling hold it whole.
    pub(super) async fn add(
        &self,
        replica: &Replica,
        sibling: &Replica,
        draw: &Draw,
        now: Timestamp,
    ) -> Result<()> {
        let needed = NeedReader::default().needed(replica, now).await?;
        let names: Vec<&Name> = needed.names().collect();
        let Some(name) = names.get(draw.below(names.len() as u64) as usize) else { return Ok(()) };
        let key = replica.objects().key(name);
        sibling.objects().read(name).await?;
        let bytes = read_hashed(replica.store(), &key, &name.id).await?;
        self.0.borrow_mut().insert(key.clone(), bytes.clone());
        let at = draw.below(bytes.len() as u64) as usize;
        let damaged = match draw.below(3) {
            0 => None,
            1 => Some(bytes.slice(..at)),
            _ => {
                let mut bytes = bytes.to_vec();
                bytes[at] ^= 1 << draw.below(8);
                Some(bytes.into())
            }
        };
        set(&inside(replica.store()), &key, damaged);
        Ok(())
    }

    /// Makes whole what is damaged, for a look at everything else. Returns what to give to [`Damaged::lower`].
    pub(super) fn lift(&self, store: &Store) -> Vec<(String, Option<Bytes>)> {
        let memory = inside(store);
        let mut lifted = Vec::new();
        self.0.borrow_mut().retain(|key, whole| {
            let found = memory.remove(key);
            memory.set(key, whole.clone());
            let is_damaged = found.as_ref() != Some(whole);
            if is_damaged {
                lifted.push((key.clone(), found));
            }
            is_damaged
        });
        lifted
    }

    /// Damages again what was lifted.
    pub(super) fn lower(&self, store: &Store, lifted: Vec<(String, Option<Bytes>)>) {
        for (key, found) in lifted {
            set(&inside(store), &key, found);
        }
    }

    /// Puts back by hand what the sibling has not got whole any more, and mends the rest.
    ///
    /// # Errors
    /// What could have been mended and was not.
    pub(super) async fn end(
        &self,
        replica: &Replica,
        sibling: &Replica,
        now: Timestamp,
    ) -> std::result::Result<(), String> {
        let damaged = self.0.take();
        let in_force = damaged.iter().filter_map(|(key, whole)| {
            let (name, _) = Name::of_key(key)?;
            (replica.objects().key(&name) == *key).then_some((name, key, whole))
        });
        for (name, key, whole) in in_force.clone() {
            if sibling.objects().read(&name).await.is_err() {
                inside(replica.store()).set(key, whole.clone());
            }
        }
        let failed = |error: Error| error.to_string();
        let siblings = Siblings::new([sibling.objects().clone()]);
        mend_all(replica, &siblings, now).await.map_err(failed)?;
        let needed = NeedReader::default().needed(replica, now).await.map_err(failed)?;
        for (name, ..) in in_force.filter(|(name, ..)| needed.contains(name)) {
            if replica.objects().read(&name).await.is_err() {
                return Err(format!("{name} could be mended and was not"));
            }
        }
        Ok(())
    }
}

impl Client {
    /// Something rots; some time later a repair goes through everything that is needed.
    pub(super) async fn repair(&mut self) -> Result<()> {
        let place = self.draw.below(2) as usize;
        self.world.damage(place, &self.draw).await;
        self.world.wait(&self.draw, DAY).await;
        let replica = Replica::open(self.views[place].0.clone()).await?;
        let sibling = Replica::open(self.views[1 - place].0.clone()).await?;
        self.world.wait(&self.draw, DAY).await;
        mend_all(&replica, &Siblings::new([sibling.objects().clone()]), self.now()).await
    }
}

/// Mends every object that the replica's roots need, as far as the sibling has it.
async fn mend_all(replica: &Replica, siblings: &Siblings, now: Timestamp) -> Result<()> {
    for visible in replica.state().roots(now).into_values() {
        // Each list that is mended may build on another one that is to be.
        let mut last = None;
        while let Err(lost) = read_list_naming(replica.objects(), replica.vault_id(), visible.need_list).await
        {
            if last.replace(lost.id) == Some(lost.id)
                || mend(&Name::index(lost.id), siblings, replica.objects()).await.is_err()
            {
                break;
            }
        }
    }
    let needed = NeedReader::default().needed(replica, now).await?;
    for name in needed.names() {
        match mend(name, siblings, replica.objects()).await {
            Err(error) if !matches!(error.kind(), Kind::Missing | Kind::Damaged) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn set(memory: &Memory, key: &str, bytes: Option<Bytes>) {
    match bytes {
        Some(bytes) => memory.set(key, bytes),
        None => drop(memory.remove(key)),
    }
}

fn inside(store: &Store) -> Memory {
    store.inside().unwrap()
}
