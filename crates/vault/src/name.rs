//! Names of immutable objects, and the keys under which a replica's store holds them.
//!
//! Objects and statements name ids, never keys. An object's key is its plain key until a sweep of the replica's log names
//! it; from then on it is the plain key, `~`, and the number of the latest such sweep (`docs/format/log.md` section 7).
//! So a key is deleted at most once in history, and whoever deletes late deletes nothing that anybody relies on.

use std::fmt;

use crate::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::ObjectId;

/// Which of the places that hold immutable, content-named objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Area {
    /// `packs/<2 hex>/<id>`
    Pack = 1,
    /// `index/<id>`: segments and need lists.
    Index = 2,
    /// `snapshots/<id>`
    Snapshot = 3,
}

/// The name of an object that a log can condemn, keep and sweep.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Where it lies.
    pub area: Area,
    /// BLAKE3 of its bytes.
    pub id: ObjectId,
}

impl Name {
    /// Bytes of an encoded name.
    pub(crate) const LEN: usize = 1 + ObjectId::LEN;

    /// A pack.
    pub const fn pack(id: ObjectId) -> Self {
        Self { area: Area::Pack, id }
    }

    /// A segment or a need list.
    pub const fn index(id: ObjectId) -> Self {
        Self { area: Area::Index, id }
    }

    /// A snapshot.
    pub const fn snapshot(id: ObjectId) -> Self {
        Self { area: Area::Snapshot, id }
    }

    /// The key of an object that was never swept.
    pub fn plain_key(&self) -> String {
        let hex = self.id.to_hex();
        match self.area {
            Area::Pack => format!("packs/{}/{hex}", &hex[..2]),
            Area::Index => format!("index/{hex}"),
            Area::Snapshot => format!("snapshots/{hex}"),
        }
    }

    /// The key after the log entry `swept`, the latest sweep that names the object; the plain key without one.
    pub fn key(&self, swept: Option<u64>) -> String {
        match swept {
            None => self.plain_key(),
            Some(n) => format!("{}~{n}", self.plain_key()),
        }
    }

    /// The name and the sweep that a key of a store speaks of; none for a key that is not of this kind.
    pub fn of_key(key: &str) -> Option<(Self, Option<u64>)> {
        let (plain, swept) = match key.split_once('~') {
            None => (key, None),
            Some((plain, n)) => (plain, Some(n.parse().ok()?)),
        };
        let id: ObjectId = plain.rsplit('/').next()?.parse().ok()?;
        let name = [Self::pack(id), Self::index(id), Self::snapshot(id)];
        let name = name.into_iter().find(|name| name.plain_key() == plain)?;
        // One key has one spelling: `~007` and upper case are nobody's.
        (name.key(swept) == key).then_some((name, swept))
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.u8(self.area as u8).raw(&self.id.0);
    }

    pub(crate) fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let area = match input.u8()? {
            1 => Area::Pack,
            2 => Area::Index,
            3 => Area::Snapshot,
            _ => return Err(input.error("a name is of an unknown area")),
        };
        Ok(Self { area, id: ObjectId(input.array()?) })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain_key())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.area, self.id.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_speaks_of_one_name_and_one_sweep() {
        let id = ObjectId::of(b"x");
        for name in [Name::pack(id), Name::index(id), Name::snapshot(id)] {
            for swept in [None, Some(0), Some(7), Some(u64::MAX)] {
                assert_eq!(Name::of_key(&name.key(swept)), Some((name, swept)));
            }
        }
        let pack = Name::pack(id).plain_key();
        for foreign in
            ["", "vault.json", "log/3", "packs", "index/xyz", &format!("{pack}~"), &format!("{pack}~07")]
        {
            assert_eq!(Name::of_key(foreign), None, "{foreign}");
        }
        assert_eq!(Name::of_key(&format!("packs/zz/{id}")), None);
    }
}
