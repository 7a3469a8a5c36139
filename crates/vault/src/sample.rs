//! What every test that makes a small vault needs: ways in, the vault itself, packs, entries, and what a snapshot says.

use std::collections::BTreeMap;

use crate::entry::{Entry, Extents, FileTime, Local, Node, Portable, TreePath, Xattr};
use crate::error::Result;
use crate::frame::{Compression, Scratch};
use crate::id::{ChunkId, Digest, PackId, Timestamp};
use crate::keys::slot::Lock;
use crate::keys::{KeyRing, Unlock};
use crate::log::Config;
use crate::pack::{FinishedPack, PackBuilder, PackKind};
use crate::replica::Replica;
use crate::roots::Roots;
use crate::snapshot::{Contents, Counts, TreeRoot, UnreadList};
use crate::store::Store;
use crate::suite::KdfCost;
use crate::tree::NodeSink;
use crate::vault::{CreateOptions, Place, Vault};

/// The cheapest lock that there is.
pub(crate) fn lock(word: &str) -> Lock<'_> {
    Lock::Passphrase(word, KdfCost::new(8, 1, 1).unwrap())
}

/// Makes a vault with a replica in each of these stores; the owner's word is "owner". Returns the owner's handle.
pub(crate) async fn create(stores: &[Store]) -> Vault {
    let options = CreateOptions {
        name: "here",
        config: Config::default(),
        ways_in: vec![("owner", lock("owner"))],
        now: Timestamp(1),
    };
    let names = ["first", "second", "third"];
    let places = stores.iter().zip(names).map(|(store, name)| Place { store: store.clone(), name });
    let replicas = Vault::create_on(places.collect(), options).await.unwrap();
    Vault::open_all(replicas, &Unlock::Passphrase("owner"), None).await.unwrap()
}

pub(crate) async fn open(store: &Store, word: &str) -> Result<Vault> {
    Vault::open(Replica::open(store.clone()).await?, &Unlock::Passphrase(word), None).await
}

/// Nodes of trees that are in no pack yet.
#[derive(Default)]
pub(crate) struct Nodes(pub(crate) BTreeMap<Digest, Vec<u8>>);

impl NodeSink for Nodes {
    fn put_node(&mut self, digest: Digest, node: Vec<u8>) -> Result<()> {
        self.0.insert(digest, node);
        Ok(())
    }
}

/// A pack of these chunks, each in a frame of its own.
pub(crate) fn pack(kind: PackKind, ring: &KeyRing, chunks: &[(ChunkId, &Vec<u8>)]) -> FinishedPack {
    let mut builder = PackBuilder::new(kind, 1 << 20, ring).unwrap();
    for (id, bytes) in chunks {
        let ticket = builder.reserve(bytes.len(), 1).unwrap().unwrap();
        let chunk = vec![(*id, bytes.len() as u32)];
        builder.append(ticket.seal(bytes, chunk, Compression::Fast, &mut Scratch::new()).unwrap()).unwrap();
    }
    builder.finish().unwrap()
}

pub(crate) fn entry(name: &str, node: Node, xattrs: Vec<Xattr>, extents: Extents) -> Entry {
    let time = FileTime { seconds: 1, nanos: 0 };
    let path = TreePath::new(name.as_bytes()).unwrap();
    Entry {
        portable: Portable { path, node, mode: 0o644, uid: 0, gid: 0, mtime: time, xattrs, first_link: None },
        local: Local { ctime: time, extents, profile: 1, ..Local::default() },
    }
}

pub(crate) fn contents(tree: TreeRoot, need: Vec<(PackId, u64)>, now: Timestamp) -> Contents {
    Contents {
        tree,
        roots: Roots { manifest: [2; 32], content: [3; 32] },
        source: "source".to_owned(),
        host: "host".to_owned(),
        paths: Vec::new(),
        tags: Vec::new(),
        excludes: Vec::new(),
        one_file_system: false,
        counts: Counts::default(),
        started: now,
        finished: now,
        unread: UnreadList::default(),
        need,
        program: "test".to_owned(),
    }
}
