//! What a snapshot relies on: need lists, and the reference counts from which the next list follows.
//!
//! Layout and rules: `docs/format/index.md` sections 2 and 3. Everything here is pure.

mod counts;

use std::collections::BTreeSet;

pub use counts::NeedCounts;

use crate::codec::Decoder;
use crate::error::{Error, Result};
use crate::id::{NeedListId, ObjectId, PackId, VaultId};
use crate::log::duty::ReadList;
use crate::object::{self, ObjectKind};

/// Every 32nd list is full: at most this many lists must be read before one.
const DEPTH_MAX: u8 = 31;

/// The packs that a snapshot relies on, in full or as a change of another list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedList {
    depth: u8,
    base: Option<NeedListId>,
    plus: Vec<PackId>,
    minus: Vec<PackId>,
}

/// A resolved list that a new one may build on.
#[derive(Debug, Clone, Copy)]
pub struct NeedBase<'a> {
    /// The list's id.
    pub id: NeedListId,
    /// The list's depth.
    pub depth: u8,
    /// What it resolves to.
    pub packs: &'a BTreeSet<PackId>,
}

impl NeedList {
    /// The list of `packs`: as a change of `parent` where that is shorter and its chain may grow, else in full.
    pub fn plan_next(parent: Option<NeedBase<'_>>, packs: &BTreeSet<PackId>) -> Self {
        let change = parent.filter(|parent| parent.depth < DEPTH_MAX).map(|parent| Self {
            depth: parent.depth + 1,
            base: Some(parent.id),
            plus: packs.difference(parent.packs).copied().collect(),
            minus: parent.packs.difference(packs).copied().collect(),
        });
        change.filter(|list| list.plus.len() + list.minus.len() < packs.len()).unwrap_or_else(|| Self {
            depth: 0,
            base: None,
            plus: packs.iter().copied().collect(),
            minus: Vec::new(),
        })
    }

    /// How many lists must be read before this one.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// The list that this one changes; needed as long as this one is.
    pub fn base(&self) -> Option<NeedListId> {
        self.base
    }

    /// The object.
    pub fn encode(&self, vault: VaultId) -> Vec<u8> {
        let mut out = object::start(ObjectKind::NeedList, vault);
        out.u8(self.depth);
        if let Some(base) = self.base {
            out.raw(&base.0);
        }
        for packs in [&self.plus, &self.minus] {
            out.varint(packs.len() as u64);
            for pack in packs {
                out.raw(&pack.0);
            }
        }
        out.finish()
    }

    /// Decodes the object; the caller has compared its BLAKE3 with its name.
    pub fn decode(bytes: &[u8], vault: VaultId) -> Result<Self> {
        let mut input = object::open(bytes, ObjectKind::NeedList, vault, "need list")?;
        let depth = input.u8()?;
        if depth > DEPTH_MAX {
            return Err(input.error("its chain is too long"));
        }
        let base = if depth == 0 { None } else { Some(ObjectId(input.array()?)) };
        let (plus, minus) = (decode_packs(&mut input)?, decode_packs(&mut input)?);
        if (depth == 0 && !minus.is_empty()) || minus.iter().any(|pack| plus.binary_search(pack).is_ok()) {
            return Err(input.error("removes what it does not hold"));
        }
        input.finish()?;
        Ok(Self { depth, base, plus, minus })
    }

    /// Applies this list to `base`, which its base resolves to (nothing, for a full list).
    ///
    /// # Errors
    /// [`crate::Kind::Damaged`] if the list cannot have been made from that base. Such a list must not be treated as
    /// needing nothing.
    pub fn apply(&self, base: BTreeSet<PackId>) -> Result<BTreeSet<PackId>> {
        let mut packs = base;
        if self.depth == 0 && !packs.is_empty() {
            return Err(mismatch());
        }
        for pack in &self.minus {
            if !packs.remove(pack) {
                return Err(mismatch());
            }
        }
        for pack in &self.plus {
            if !packs.insert(*pack) {
                return Err(mismatch());
            }
        }
        Ok(packs)
    }

    /// Resolves a chain of lists by id, the full one first: every pack that the last one names.
    ///
    /// # Errors
    /// [`crate::Kind::Damaged`] if the chain is empty, does not begin with a full list, or has a member that does not
    /// build on the one before it.
    pub fn resolve(chain: &[(NeedListId, NeedList)]) -> Result<BTreeSet<PackId>> {
        let mut packs = BTreeSet::new();
        let mut before: Option<(NeedListId, u8)> = None;
        for (id, list) in chain {
            let linked = match before {
                None => list.depth == 0,
                Some((base, depth)) => list.base == Some(base) && list.depth == depth + 1,
            };
            if !linked {
                return Err(mismatch());
            }
            packs = list.apply(packs)?;
            before = Some((*id, list.depth));
        }
        before.map(|_| packs).ok_or_else(mismatch)
    }
}

/// A list being read together with those that it builds on, from the last one down to the full one.
#[derive(Debug)]
pub struct NeedChain {
    vault: VaultId,
    next: Option<NeedListId>,
    lists: Vec<(NeedListId, NeedList)>,
}

impl NeedChain {
    /// A chain that ends with the list `last`; nothing is read yet.
    pub fn to(vault: VaultId, last: NeedListId) -> Self {
        Self { vault, next: Some(last), lists: Vec::new() }
    }

    /// The list to read next; `None` when the chain is whole.
    pub fn next(&self) -> Option<NeedListId> {
        self.next
    }

    /// Takes the bytes of the list [`NeedChain::next`].
    ///
    /// # Errors
    /// [`crate::Kind::Damaged`] if they are no list, or not what the list above builds on.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(id) = self.next else { return Err(mismatch()) };
        let list = NeedList::decode(bytes, self.vault)
            .map_err(|error| error.context(format!("read need list {id}")))?;
        // Depths fall by one from list to list, so a chain that goes in circles ends here.
        if self.lists.last().is_some_and(|(_, above)| list.depth() >= above.depth()) {
            return Err(Error::damaged(format!("need list {id} is not what the list above builds on")));
        }
        self.next = list.base();
        self.lists.push((id, list));
        Ok(())
    }

    /// What the last list resolves to, and the lists. The chain must be whole.
    ///
    /// # Errors
    /// As [`NeedList::resolve`].
    pub fn resolve(mut self) -> Result<ReadList> {
        let chain = self.lists.iter().map(|(id, _)| *id).collect();
        self.lists.reverse();
        Ok(ReadList { packs: NeedList::resolve(&self.lists)?, chain })
    }
}

fn mismatch() -> Error {
    Error::damaged("resolve need list: it does not build on the list before it")
}

fn decode_packs(input: &mut Decoder<'_>) -> Result<Vec<PackId>> {
    let count = input.count(PackId::LEN)?;
    let mut packs: Vec<PackId> = Vec::with_capacity(count);
    for _ in 0..count {
        let pack = ObjectId(input.array()?);
        if packs.last().is_some_and(|last| *last >= pack) {
            return Err(input.error("its packs are not in order"));
        }
        packs.push(pack);
    }
    Ok(packs)
}

#[cfg(test)]
mod tests;
