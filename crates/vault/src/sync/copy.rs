//! Copying objects to a replica from its siblings.

use futures_util::{StreamExt, stream};

use crate::error::Result;
use crate::name::Name;
use crate::objects::Objects;
use crate::replicas::Siblings;

/// Objects copied at the same time; each is held in memory whole.
const COPIES_IN_FLIGHT_MAX: usize = 2;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Objects that were not there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Sees to it that an object is at `to`, at the key in force there: copies it from the first of `from` that has it whole.
///
/// # Errors
/// As [`Siblings::read`]; the store's.
pub async fn copy(name: &Name, from: &Siblings, to: &Objects) -> Result<Copied> {
    if to.size(name).await?.is_some() {
        return Ok(Copied::default());
    }
    let bytes = from.read(name).await?;
    let size = bytes.len() as u64;
    to.put(name, bytes).await?;
    Ok(Copied { objects: 1, bytes: size })
}

/// Copies several objects, a few at a time. What was copied before a failure stays and is found there the next time.
///
/// # Errors
/// The first failure, as [`copy`].
pub async fn copy_all(
    names: impl IntoIterator<Item = Name>,
    from: &Siblings,
    to: &Objects,
) -> Result<Copied> {
    let mut copies = stream::iter(names)
        .map(|name| async move { copy(&name, from, to).await })
        .buffer_unordered(COPIES_IN_FLIGHT_MAX);
    let mut all = Copied::default();
    while let Some(copied) = copies.next().await {
        let copied = copied?;
        all.objects += copied.objects;
        all.bytes += copied.bytes;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::id::ObjectId;
    use crate::store::Store;
    use bytes::Bytes;

    fn objects() -> Objects {
        Objects::new(Store::memory())
    }

    #[tokio::test]
    async fn what_is_missing_is_copied_and_what_is_there_is_left() {
        let (from, to) = (objects(), objects());
        let objects: Vec<Bytes> = (0..9_u8).map(|n| Bytes::from(vec![n; 100])).collect();
        let name = |bytes: &Bytes| Name::pack(ObjectId::of(bytes));
        for bytes in &objects {
            from.put(&name(bytes), bytes.clone()).await.unwrap();
        }
        to.put(&name(&objects[3]), objects[3].clone()).await.unwrap();
        let siblings = Siblings::new([from]);
        let all = || objects.iter().map(name);
        assert_eq!(copy_all(all(), &siblings, &to).await.unwrap(), Copied { objects: 8, bytes: 800 });
        assert_eq!(copy_all(all(), &siblings, &to).await.unwrap(), Copied::default());
        for bytes in &objects {
            assert_eq!(to.read(&name(bytes)).await.unwrap(), bytes);
        }
    }

    #[tokio::test]
    async fn what_no_sibling_has_whole_is_not_copied() {
        let (from, to) = (objects(), objects());
        let name = Name::pack(ObjectId::of(b"right"));
        let siblings = Siblings::new([from.clone()]);
        assert_eq!(copy(&name, &siblings, &to).await.unwrap_err().kind(), Kind::Missing);
        from.store().put(&name.plain_key(), Bytes::from_static(b"wrong")).await.unwrap();
        assert_eq!(copy(&name, &siblings, &to).await.unwrap_err().kind(), Kind::Damaged);
        assert_eq!(to.size(&name).await.unwrap(), None);
    }
}
