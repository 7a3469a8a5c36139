//! A small vault for tests: a clock, an owner, a keeper, and a writer that stores files given as chunks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::{Clock, Options, Outcome, Progress, Watch};
use crate::entry::{Extent, Extents, Node, Xattr, XattrValue};
use crate::error::Result;
use crate::id::{ChunkId, Digest, PackId, SnapshotId, SourceId, Timestamp};
use crate::keys::Role;
use crate::keys::ring::ChunkSpace;
use crate::name::Name;
use crate::pack::PackKind;
use crate::reliance::may_rely_on;
use crate::sample::{Nodes, contents, create, entry, lock, open, pack};
use crate::session::{PackStore, Session};
use crate::snapshot::TreeRoot;
use crate::store::Store;
use crate::tree::{EntryStream, ExtentListBuilder, ExtentStream, TreeBuilder};
use crate::vault::Vault;

pub(crate) const HOUR: i64 = 3600 * 1_000_000;
/// Files by name, each a list of chunks.
pub(crate) type Files = BTreeMap<String, Vec<Vec<u8>>>;
/// So many frames fill a pack.
const PACK_FRAMES: usize = 4;

/// A vault on one replica in memory.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: AtomicI64,
    pub(crate) owner: Vault,
    pub(crate) keeper: Vault,
    source: SourceId,
}

/// A watch that hears of no plan.
pub(crate) fn watch<'a>(
    clock: Clock<'a>,
    progress: &'a Progress,
    stop: &'a (dyn Fn() -> Result<()> + Sync),
) -> Watch<'a> {
    Watch { clock, progress, planned: &|_| Ok(()), stop }
}

impl World {
    pub(crate) async fn new() -> Self {
        let store = Store::memory();
        let mut owner = create(std::slice::from_ref(&store)).await;
        owner.add_key(Role::Keeper, "keeper", lock("keeper"), &[], Timestamp(2)).await.unwrap();
        let keeper = open(&store, "keeper").await.unwrap();
        let source = owner.ring().source_id("source");
        Self { store, clock: AtomicI64::new(1000 * HOUR), owner, keeper, source }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::Relaxed))
    }

    pub(crate) fn pass(&self, hours: i64) {
        self.clock.fetch_add(hours * HOUR, Ordering::Relaxed);
    }

    pub(crate) async fn collect(&mut self, options: &Options) -> Result<Outcome> {
        let clock = || Timestamp(self.clock.load(Ordering::Relaxed));
        self.keeper.collect(0, options, watch(&clock, &Progress::default(), &|| Ok(()))).await
    }

    pub(crate) async fn plan(&mut self, options: &Options) -> Outcome {
        let clock = || Timestamp(self.clock.load(Ordering::Relaxed));
        self.keeper
            .plan_collection(0, options, watch(&clock, &Progress::default(), &|| Ok(())))
            .await
            .unwrap()
    }

    pub(crate) async fn begin(&mut self) -> Session {
        let now = self.now();
        self.owner.refresh().await.unwrap();
        self.owner.begin(self.source, now).await.unwrap()
    }

    /// Stores files as a snapshot.
    pub(crate) async fn back_up(&mut self, files: &Files) -> SnapshotId {
        let session = self.begin().await;
        self.store_and_commit(session, files).await.unwrap()
    }

    /// Stores what is new of these files, and commits.
    pub(crate) async fn store_and_commit(&mut self, session: Session, files: &Files) -> Result<SnapshotId> {
        self.owner.refresh().await?;
        let mut nodes = Nodes::default();
        let tree = build_tree(self.owner.ring().boundary.as_ref().unwrap(), files, &mut nodes)?;
        let content: BTreeMap<Digest, Vec<u8>> =
            files.values().flatten().map(|chunk| (Digest::of(chunk), chunk.clone())).collect();
        let mut need: BTreeMap<PackId, u64> = BTreeMap::new();
        let (ring, objects) = (Arc::clone(self.owner.ring()), self.owner.replica().objects().clone());
        let mut packs = PackStore::new(&objects, &ring);
        for (kind, chunks) in [(PackKind::Content, &content), (PackKind::Metadata, &nodes.0)] {
            let mut fresh = Vec::new();
            for (digest, bytes) in chunks {
                let id = ring.chunk_id(kind.space(), digest);
                match self.known(&id, kind.space())? {
                    Some(pack) => *need.entry(pack).or_default() += 1,
                    None => fresh.push((id, bytes)),
                }
            }
            for part in fresh.chunks(PACK_FRAMES) {
                let pack = pack(kind, &ring, part);
                *need.entry(pack.pack().id).or_default() += part.len() as u64;
                packs.putter().put_pack(&pack).await?;
                packs.acknowledged(pack).await?;
            }
        }
        let segments = packs.finish().await?;
        let now = self.now();
        let contents = contents(tree, need.into_iter().collect(), now);
        self.owner.commit(session, contents, segments, now).await
    }

    fn known(&self, id: &ChunkId, space: ChunkSpace) -> Result<Option<PackId>> {
        let places = self.owner.index().lookup(id, space)?;
        let trusted = self.owner.trusted_writers();
        let state = self.owner.replica().state();
        Ok(places.iter().find(|place| may_rely_on(place, state, &trusted)).map(|place| place.pack))
    }

    /// The files that a snapshot holds, each byte read back.
    pub(crate) async fn restore(&self, snapshot: &SnapshotId) -> Files {
        let vault = open(&self.store, "owner").await.unwrap();
        let tree = vault.snapshot(snapshot).await.unwrap().contents.tree;
        let reader = Arc::new(vault.reader_of(snapshot).await.unwrap());
        let mut stream = EntryStream::open(Arc::clone(&reader), tree.digest, tree.level);
        let mut files = Files::new();
        while let Some(entry) = stream.next().await.unwrap() {
            let Node::File { size, .. } = entry.portable.node else { continue };
            let mut chunks = Vec::new();
            let mut extents = ExtentStream::open(Arc::clone(&reader), &entry.local.extents, size).unwrap();
            while let Some((_, extent)) = extents.next().await.unwrap() {
                let Extent::Data { digest, .. } = extent else { panic!("there are no holes") };
                chunks.push(reader.chunk(ChunkSpace::Content, &digest).await.unwrap().to_vec());
            }
            for xattr in &entry.portable.xattrs {
                let XattrValue::Chunk { digest, .. } = &xattr.value else { continue };
                chunks.push(reader.chunk(ChunkSpace::Content, digest).await.unwrap().to_vec());
            }
            files.insert(entry.path().to_string(), chunks);
        }
        files
    }

    /// Keys of packs, segments, need lists and snapshots in the store.
    pub(crate) async fn objects(&self) -> BTreeSet<String> {
        let listed = self.store.list("").await.unwrap().into_iter().map(|object| object.path);
        listed.filter(|path| Name::of_key(path).is_some()).collect()
    }
}

/// A file of many chunks has a list of extents; the last chunk of a file named `x…` is an attribute instead.
fn build_tree(boundary: &crate::suite::Secret, files: &Files, nodes: &mut Nodes) -> Result<TreeRoot> {
    let mut tree = TreeBuilder::new(boundary);
    tree.push(&entry("", Node::Directory, Vec::new(), Extents::default()), nodes)?;
    for (name, chunks) in files {
        let (xattrs, chunks) = match chunks.split_last() {
            Some((last, rest)) if name.starts_with('x') => {
                let value = XattrValue::Chunk { digest: Digest::of(last), length: last.len() as u32 };
                (vec![Xattr { name: b"user.long".to_vec(), value }], rest)
            }
            _ => (Vec::new(), &chunks[..]),
        };
        let whole = chunks.concat();
        let mut list = ExtentListBuilder::new(boundary);
        for chunk in chunks {
            list.push(Extent::Data { digest: Digest::of(chunk), length: chunk.len() as u32 }, nodes)?;
        }
        let node = Node::File { size: whole.len() as u64, digest: Digest::of(&whole) };
        tree.push(&entry(name, node, xattrs, list.finish(nodes)?), nodes)?;
    }
    let summary = tree.finish(nodes)?;
    Ok(TreeRoot { digest: summary.root, level: summary.level })
}

/// Files from numbers: each number is a chunk of content that does not compress.
pub(crate) fn files(given: &[(&str, &[u64])]) -> Files {
    let chunk = |number: &u64| {
        // Long attributes are longer than 4096 bytes.
        let mut bytes = vec![0; 4200 + (*number % 7) as usize * 300];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    };
    given.iter().map(|(name, chunks)| ((*name).to_owned(), chunks.iter().map(chunk).collect())).collect()
}
