//! Planning a collection at scale: time and peak memory.
//!
//! ```text
//! cargo run --release -p shudao-vault --example collection_scale -- DIR [THOUSANDS OF CHUNKS] [SNAPSHOTS]
//! ```
//!
//! Makes a vault in DIR (a million chunks and 60 snapshots unless said) whose trees, segments, need lists, snapshots and log are
//! real, and whose content packs are empty files: planning lists them and reads none. Each snapshot changes one file in a
//! hundred; the first two thirds of them are forgotten. Then a process of its own opens the vault, first with a cold cache and then with a
//! warm one, and plans; it prints how long that took and its peak resident memory.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, which may stop at anything"
)]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use shudao_vault::Result;
use shudao_vault::collect::{Options, Progress, Watch};
use shudao_vault::entry::{Entry, Extent, Extents, FileTime, Local, Node, Portable, TreePath};
use shudao_vault::frame::{Compression, Scratch};
use shudao_vault::id::{ChunkId, Digest, KeyId, PackId, SnapshotId, Timestamp, WriterId};
use shudao_vault::keys::slot::Lock;
use shudao_vault::keys::{KeyRing, Unlock};
use shudao_vault::log::Config;
use shudao_vault::name::Name;
use shudao_vault::pack::{
    Directory, DirectoryChunk, DirectoryFrame, PackBuilder, PackContents, PackKind, PackRef,
};
use shudao_vault::replica::Replica;
use shudao_vault::roots::Roots;
use shudao_vault::segment::SegmentBuilder;
use shudao_vault::snapshot::{Contents, Counts, TreeRoot, UnreadList};
use shudao_vault::store::{Address, Store, StoreOptions};
use shudao_vault::suite::KdfCost;
use shudao_vault::tree::{NodeSink, TreeBuilder};
use shudao_vault::vault::{CreateOptions, Vault};

const FILE_CHUNKS: u64 = 8;
const FRAME_CHUNKS: u64 = 4;
const PACK_CHUNKS: usize = 112;
const CHUNK_BYTES: u32 = 290_000;
const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().expect("a directory for the vault"));
    let second = arguments.next();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if second.as_deref() == Some("plan") {
        return runtime.block_on(plan(&directory));
    }
    let chunks = second.map_or(1_000_000, |text| text.parse::<u64>().unwrap() * 1000);
    let snapshots: u64 = arguments.next().map_or(60, |text| text.parse().unwrap());
    let started = Instant::now();
    std::fs::create_dir_all(&directory).unwrap();
    runtime.block_on(make(&directory, chunks, snapshots));
    println!("{chunks} chunks and {snapshots} snapshots made in {:.0} s", started.elapsed().as_secs_f64());
    for cache in ["cold", "warm"] {
        println!("with a {cache} cache:");
        let program = std::env::current_exe().unwrap();
        let done = std::process::Command::new(program).arg(&directory).arg("plan").status().unwrap();
        assert!(done.success());
    }
}

async fn store(directory: &Path) -> Store {
    let address = Address::parse(directory.join("vault").to_str().unwrap()).unwrap();
    Store::open(&address, &StoreOptions::default()).await.unwrap()
}

async fn open(directory: &Path) -> Vault {
    let replica = Replica::open(store(directory).await).await.unwrap();
    Vault::open(replica, &Unlock::Passphrase("owner"), Some(&directory.join("cache"))).await.unwrap()
}

async fn plan(directory: &Path) {
    let started = Instant::now();
    let mut vault = open(directory).await;
    let opened = started.elapsed();
    let progress = Progress::default();
    let clock = || Timestamp(1000 * DAY_MICROS);
    let watch = Watch { clock: &clock, progress: &progress, planned: &|_| Ok(()), stop: &|| Ok(()) };
    let started = Instant::now();
    let outcome = vault.plan_collection(0, &Options::DEFAULT, watch).await.unwrap();
    let planned = started.elapsed();
    let nodes = progress.nodes.load(std::sync::atomic::Ordering::Relaxed);
    let left = outcome.left;
    assert_eq!(outcome.problems, Vec::<String>::new());
    println!("  {} chunks, {nodes} tree nodes read", vault.index().chunks());
    println!("  to condemn: {} objects; to compact: {} packs", left.condemn.len(), left.compact.len());
    println!("  opened in {:.1} s, planned in {:.1} s", opened.as_secs_f64(), planned.as_secs_f64());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    println!("  peak resident memory: {}", peak.trim_start_matches("VmHWM:").trim());
}

/// What stands in for a source: the version of each file, which names its chunks.
struct Files(Vec<u64>);

impl Files {
    fn chunk(file: usize, version: u64, at: u64) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(file as u64).to_le_bytes()).update(&version.to_le_bytes()).update(&at.to_le_bytes());
        Digest(*hasher.finalize().as_bytes())
    }
}

#[derive(Default)]
struct Nodes(BTreeMap<Digest, Vec<u8>>);

impl NodeSink for Nodes {
    fn put_node(&mut self, digest: Digest, node: Vec<u8>) -> Result<()> {
        self.0.insert(digest, node);
        Ok(())
    }
}

/// What the vault holds so far.
struct Maker {
    vault: Vault,
    ring: Arc<KeyRing>,
    places: BTreeMap<(usize, u64), PackId>,
    node_places: BTreeMap<Digest, PackId>,
    packs_made: u64,
}

async fn make(directory: &Path, chunks: u64, snapshots: u64) {
    let store = store(directory).await;
    let cost = KdfCost::new(8, 1, 1).unwrap();
    let options = CreateOptions {
        name: "here",
        config: Config::default(),
        ways_in: vec![("owner", Lock::Passphrase("owner", cost))],
        now: Timestamp(1),
    };
    Vault::create(store, options).await.unwrap();
    let vault = open(directory).await;
    let ring = Arc::clone(vault.ring());
    let mut maker =
        Maker { vault, ring, places: BTreeMap::new(), node_places: BTreeMap::new(), packs_made: 0 };
    // The first snapshot holds most of the chunks, the others a hundredth of that each.
    let count = chunks * 100 / (100 + snapshots) / FILE_CHUNKS;
    let mut files = Files(vec![0; count as usize]);
    let mut made = Vec::new();
    for number in 0..snapshots {
        if number > 0 {
            let total = files.0.len();
            for at in 0..total / 100 {
                files.0[(at * 97 + number as usize * 31) % total] = number;
            }
        }
        made.push(maker.back_up(&files, Timestamp(number as i64 * DAY_MICROS)).await);
    }
    std::fs::remove_dir_all(directory.join("cache")).unwrap();
    let forgotten = made[..made.len() * 2 / 3].to_vec();
    maker.vault.forget(&forgotten, Timestamp(snapshots as i64 * DAY_MICROS)).await.unwrap();
}

impl Maker {
    async fn back_up(&mut self, files: &Files, now: Timestamp) -> SnapshotId {
        let source = self.ring.source_id("source");
        let session = self.vault.begin(source, now).await.unwrap();
        let ring = Arc::clone(&self.ring);
        let mut builder = SegmentBuilder::new(&ring);
        let mut segments = Vec::new();
        let mut packs = self.content_packs(files);
        let (root, nodes) = build(&ring, files);
        for pack in self.node_packs(&nodes).await {
            packs.push(pack);
        }
        for pack in packs {
            if let Some(segment) = builder.add_pack(pack).unwrap() {
                segments.push(segment);
            }
        }
        segments.extend(builder.end_segment().unwrap());
        let objects = self.vault.replica().objects().clone();
        let mut ids = Vec::new();
        for segment in segments {
            ids.push(segment.id());
            objects.put(&Name::index(segment.id()), segment.bytes).await.unwrap();
        }
        let mut need: BTreeMap<PackId, u64> = BTreeMap::new();
        for (file, version) in files.0.iter().enumerate() {
            *need.entry(self.places[&(file, *version)]).or_default() += FILE_CHUNKS;
        }
        for digest in nodes.keys() {
            *need.entry(self.node_places[digest]).or_default() += 1;
        }
        let contents = contents(root, need.into_iter().collect(), now);
        self.vault.commit(session, contents, ids, now).await.unwrap()
    }

    /// Packs for the files whose version is new. Their objects are empty files.
    fn content_packs(&mut self, files: &Files) -> Vec<PackContents> {
        let new = files.0.iter().enumerate();
        let new: Vec<(usize, u64)> = new
            .map(|(file, version)| (file, *version))
            .filter(|place| !self.places.contains_key(place))
            .collect();
        let mut packs = Vec::new();
        for part in new.chunks(PACK_CHUNKS / FILE_CHUNKS as usize) {
            self.packs_made += 1;
            let id = PackId::of(&self.packs_made.to_le_bytes());
            let mut directory = Directory::default();
            for (file, version) in part {
                self.places.insert((*file, *version), id);
                for at in 0..FILE_CHUNKS {
                    if at % FRAME_CHUNKS == 0 {
                        let counter = directory.frames.len() as u32;
                        directory.frames.push(frame(counter, self.ring.writer_id()));
                    }
                    let digest = Files::chunk(*file, *version, at);
                    directory.chunks.push(DirectoryChunk {
                        id: self.content_id(&digest),
                        frame: directory.frames.len() as u32 - 1,
                        offset: (at % FRAME_CHUNKS) as u32 * CHUNK_BYTES,
                        length: CHUNK_BYTES,
                    });
                }
            }
            let mut key = [0; 16];
            key.copy_from_slice(&id.0[..16]);
            let pack = PackRef { id, kind: PackKind::Content, size: 32 << 20 };
            packs.push(PackContents { pack, keys: vec![KeyId::default(), KeyId(key)], directory });
            let path = Name::pack(id).plain_key();
            let path = Path::new(&self.vault.replica().store().address().to_string()).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        packs
    }

    fn content_id(&self, digest: &Digest) -> ChunkId {
        self.ring.chunk_id(PackKind::Content.space(), digest)
    }

    async fn node_packs(&mut self, nodes: &BTreeMap<Digest, Vec<u8>>) -> Vec<PackContents> {
        let new: Vec<_> =
            nodes.iter().filter(|(digest, _)| !self.node_places.contains_key(*digest)).collect();
        let mut packs = Vec::new();
        for part in new.chunks(4096) {
            let mut builder = PackBuilder::new(PackKind::Metadata, 32 << 20, &self.ring).unwrap();
            for frame in part.chunks(200) {
                let plain: Vec<u8> = frame.iter().flat_map(|(_, node)| node.iter().copied()).collect();
                let chunks: Vec<(ChunkId, u32)> = frame
                    .iter()
                    .map(|(digest, node)| {
                        (self.ring.chunk_id(PackKind::Metadata.space(), digest), node.len() as u32)
                    })
                    .collect();
                let ticket = builder.reserve(plain.len(), chunks.len()).unwrap().expect("room for it");
                let sealed = ticket.seal(&plain, chunks, Compression::Fast, &mut Scratch::new()).unwrap();
                builder.append(sealed).unwrap();
            }
            let pack = builder.finish().unwrap();
            let id = pack.pack().id;
            self.node_places.extend(part.iter().map(|(digest, _)| (**digest, id)));
            self.vault.replica().objects().put(&Name::pack(id), pack.bytes.clone()).await.unwrap();
            packs.push(pack.contents);
        }
        packs
    }
}

fn frame(counter: u32, writer: WriterId) -> DirectoryFrame {
    let plain_length = CHUNK_BYTES * FRAME_CHUNKS as u32;
    DirectoryFrame {
        key: 1,
        counter,
        offset: 300 + u64::from(counter) * u64::from(plain_length),
        stored_length: plain_length,
        plain_length,
        writer,
    }
}

/// A tree of 1,000 files a directory.
fn build(ring: &KeyRing, files: &Files) -> (TreeRoot, BTreeMap<Digest, Vec<u8>>) {
    let mut nodes = Nodes::default();
    let mut tree = TreeBuilder::new(ring.boundary.as_ref().unwrap());
    let mut directories = HashSet::new();
    tree.push(&entry(String::new(), Node::Directory, Extents::default()), &mut nodes).unwrap();
    for (file, version) in files.0.iter().enumerate() {
        let directory = format!("d{:05}", file / 1000);
        if directories.insert(directory.clone()) {
            tree.push(&entry(directory.clone(), Node::Directory, Extents::default()), &mut nodes).unwrap();
        }
        let extents = (0..FILE_CHUNKS)
            .map(|at| Extent::Data { digest: Files::chunk(file, *version, at), length: CHUNK_BYTES })
            .collect();
        let size = FILE_CHUNKS * u64::from(CHUNK_BYTES);
        let node = Node::File { size, digest: Files::chunk(file, *version, FILE_CHUNKS) };
        let name = format!("{directory}/file{file:08}.dat");
        tree.push(&entry(name, node, Extents::Inline(extents)), &mut nodes).unwrap();
    }
    let summary = tree.finish(&mut nodes).unwrap();
    (TreeRoot { digest: summary.root, level: summary.level }, nodes.0)
}

fn entry(path: String, node: Node, extents: Extents) -> Entry {
    let time = FileTime { seconds: 1, nanos: 0 };
    let path = TreePath::new(path.as_bytes()).unwrap();
    Entry {
        portable: Portable {
            path,
            node,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: time,
            xattrs: vec![],
            first_link: None,
        },
        local: Local { ctime: time, extents, profile: 1, ..Local::default() },
    }
}

fn contents(tree: TreeRoot, need: Vec<(PackId, u64)>, now: Timestamp) -> Contents {
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
        program: "collection_scale".to_owned(),
    }
}
