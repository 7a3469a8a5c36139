//! Mending what a check found, from sibling replicas.

use std::collections::BTreeSet;

use shudao_vault::id::ObjectId;
use shudao_vault::name::Name;
use shudao_vault::object::key_path;
use shudao_vault::replica::Replica;
use shudao_vault::replicas::Siblings;
use shudao_vault::sync::{mend, mend_key};

use super::{CheckFinding, Severity};

/// What became of one damaged object.
#[derive(Debug)]
pub struct Repair {
    /// The object, as the finding names it.
    pub object: String,
    /// Success if a whole copy now stands in its place and was read back.
    pub outcome: shudao_vault::Result<()>,
}

/// Puts whole copies from `siblings` in the place of every object of `replica` that a finding calls damaged, as far as an
/// object can be replaced: the log is never rewritten. What depends on such objects is for the next check to say.
pub async fn repair(replica: &Replica, siblings: &Siblings, findings: &[CheckFinding]) -> Vec<Repair> {
    let damaged = findings.iter().filter(|finding| finding.severity == Severity::Damage);
    let objects: BTreeSet<&String> = damaged.map(|finding| &finding.object).collect();
    let mut repairs = Vec::new();
    for object in objects {
        let outcome = match (Name::of_key(object), key_of(object)) {
            (None, None) => continue,
            _ if replica.must_be_writer().is_err() => replica.must_be_writer(),
            (Some((name, _)), _) => mend(&name, siblings, replica.objects()).await,
            (None, Some(id)) => mend_key(object, &id, siblings, replica.store()).await,
        };
        repairs.push(Repair { object: object.clone(), outcome });
    }
    repairs
}

/// The id of an object of `keys/`.
fn key_of(path: &str) -> Option<ObjectId> {
    let id: ObjectId = path.strip_prefix("keys/")?.parse().ok()?;
    (key_path(&id) == path).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_named_by_their_hash_can_be_replaced() {
        let id = ObjectId::of(b"x");
        assert_eq!(key_of(&key_path(&id)), Some(id));
        for other in ["keys/", "keys/xyz", "log/3", "vault.json"] {
            assert!(key_of(other).is_none() && Name::of_key(other).is_none(), "{other}");
        }
    }
}
