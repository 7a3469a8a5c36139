//! Writes the valid samples of every target's corpus, and a cut and a changed one of each:
//! `cargo run -p shudao-fuzz --example corpus`.
//!
//! Everything but object keys and ephemeral keys follows from fixed seeds. Inputs that a search has found stand beside
//! these under names of their own and are left alone.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, which may stop at anything"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use shudao_fuzz::fixture::{VAULT, file, identity, object, owner, pack, with_trailer, writer};
use shudao_fuzz::target;
use shudao_vault::codec::Encoder;
use shudao_vault::entry::{
    Entry as TreeEntry, Extent, Extents, FileTime, Local, Node, Portable, TreePath, Xattr, XattrValue,
};
use shudao_vault::id::{
    Digest, KeyId, ObjectId, PackId, PinId, ReplicaId, SessionId, SlotId, SourceId, Timestamp, WriterId,
};
use shudao_vault::keys::bundle::{Bundle, Grant};
use shudao_vault::keys::recipient::{identity_line, recipient_line};
use shudao_vault::keys::share::{Sharing, split};
use shudao_vault::keys::slot::{Lock, NewSlot};
use shudao_vault::keys::{Certificate, KeySlot, Role};
use shudao_vault::log::checkpoint::codec::encode;
use shudao_vault::log::{
    Body, CommitStatement, Config, Entry, Folded, KeyPresence, LockSettings, Op, SignedStatement, State,
    Statement,
};
use shudao_vault::name::Name;
use shudao_vault::need::{NeedBase, NeedList};
use shudao_vault::object::ObjectKind;
use shudao_vault::pack::{PackEnds, PackKind};
use shudao_vault::resume::{
    Checkpoint, HASH_BLOCK_BYTES, HashState, PackMark, PartialFile, PartialTree, Place, Shelf,
};
use shudao_vault::roots::Roots;
use shudao_vault::segment::SegmentBuilder;
use shudao_vault::snapshot::{Contents, Counts, Draft, TreeRoot, Unread, UnreadKind, UnreadList};
use shudao_vault::store::lock::LockMode;
use shudao_vault::suite::{KdfCost, ReadPublic, Secret, SigningKey, public_of};
use shudao_vault::tree::{Child, ListChild, ListNode, TreeNode};

const TIME: Timestamp = Timestamp(1_800_000_000_000_000);

/// Samples by target and name.
type Samples = BTreeMap<&'static str, Vec<(String, Vec<u8>)>>;

fn main() {
    let mut samples = Samples::new();
    for part in [keys, log, checkpoints, packs, sessions, snapshots, trees, text] {
        part(&mut samples);
    }
    for (name, inputs) in &samples {
        let run = target(name).unwrap_or_else(|| panic!("there is no target {name}"));
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (sample, bytes) in inputs {
            assert!(run(bytes), "{name} does not accept {sample}");
            assert!(bytes.len() < 20 << 10, "{name}: {sample} is too large for a repository");
            std::fs::write(directory.join(sample), bytes).unwrap();
        }
        let (sample, bytes) = &inputs[0];
        std::fs::write(directory.join(format!("{sample}-cut")), &bytes[..bytes.len() * 2 / 3]).unwrap();
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 0x40;
        std::fs::write(directory.join(format!("{sample}-changed")), changed).unwrap();
        println!("{name}: {} samples", inputs.len());
    }
}

fn add(samples: &mut Samples, target: &'static str, name: &str, bytes: impl Into<Vec<u8>>) {
    samples.entry(target).or_default().push((name.to_owned(), bytes.into()));
}

fn id(seed: u8) -> ObjectId {
    ObjectId([seed; ObjectId::LEN])
}

fn keys(samples: &mut Samples) {
    let key = &owner().signing;
    let mut certificate = Certificate::new(writer().verify_key(), Role::Writer, "host 名", TIME);
    add(samples, "certificate", "writer", certificate.sign(VAULT, key).unwrap());
    certificate.predecessors = vec![WriterId([1; WriterId::LEN]), WriterId([2; WriterId::LEN])];
    add(samples, "certificate", "with-predecessors", certificate.sign(VAULT, key).unwrap());

    let recipient: ReadPublic = public_of(&identity());
    let cost = KdfCost::new(8, 1, 1).unwrap();
    let locks = [
        ("recipient", Lock::Recipient(&recipient)),
        ("passphrase", Lock::Passphrase("kettle lantern orchard", cost)),
        ("shares", Lock::Shares { threshold: 2, count: 3 }),
    ];
    for (name, lock) in locks {
        let new = NewSlot { ring: owner(), label: "a label", lock, created: TIME };
        let (slot, _) = KeySlot::create(owner(), file(), &new).unwrap();
        add(samples, "key-slot", name, slot.sign(file(), key));
    }
    let holder = writer().verify_key().writer_id();
    for (name, role) in [("owner", Role::Owner), ("writer", Role::Writer), ("keeper", Role::Keeper)] {
        let predecessors = [WriterId([1; WriterId::LEN])];
        let grant = Grant { role, holder, predecessors: &predecessors };
        add(samples, "key-bundle", name, Bundle::derive(owner(), &grant).unwrap().encode(file()).to_vec());
    }
    add(samples, "vault-file", "vault.json", file().encode());
}

fn sessions(samples: &mut Samples) {
    let finished = pack(PackKind::Content);
    let ends = PackEnds::of(&finished, VAULT).unwrap();
    let tree = PartialTree { root: Digest([1; Digest::LEN]), level: 2, last: TreePath::new("a/b").unwrap() };
    let file = PartialFile {
        path: TreePath::new("large").unwrap(),
        size: 1 << 30,
        mtime: FileTime { seconds: 1, nanos: 2 },
        ctime: FileTime { seconds: 3, nanos: 4 },
        inode: 5,
        profile: 1,
        offset: 4 * HASH_BLOCK_BYTES,
        extents: Extents::Inline(vec![Extent::Data { digest: Digest([2; Digest::LEN]), length: 4 << 16 }]),
        hash: HashState::of_blocks(3, vec![[3; 32], [4; 32]]),
    };
    let shelf = Shelf {
        segments: vec![id(6)],
        packs: vec![PackMark { pack: finished.pack(), digest: ends.digest() }],
    };
    let whole = Checkpoint { shelf, trees: vec![tree], files: vec![file] };
    let place = Place { session: SessionId([4; SessionId::LEN]), k: 3 };
    for (name, checkpoint) in [("whole", &whole), ("empty", &Checkpoint::default())] {
        add(samples, "session-contents", name, checkpoint.encode());
        add(samples, "session-checkpoint", name, checkpoint.seal(place, owner()).unwrap());
    }
    let mut note = Encoder::new();
    ends.encode(&mut note);
    let note = note.finish();
    let mut journal = Encoder::new();
    journal.raw(b"SHUDAO.J").u8(0).raw(&VAULT.0).raw(&[4; SessionId::LEN]);
    journal.u32(note.len() as u32).raw(blake3::hash(&note).as_bytes()).raw(&note);
    add(samples, "journal", "one-pack", journal.finish());
}

fn sign(serial: u64, body: &Body, key: &SigningKey) -> SignedStatement {
    let statement =
        Statement { author: key.verify_key().writer_id(), time: TIME, serial, body: body.clone() };
    statement.sign(VAULT, key).unwrap()
}

fn log(samples: &mut Samples) {
    let key = &owner().signing;
    let certificate =
        Certificate::new(SigningKey::from_seed(Secret([7; 32])).verify_key(), Role::Keeper, "k", TIME);
    let presence = KeyPresence::Certificate(certificate.sign(VAULT, key).unwrap());
    let commit = CommitStatement {
        snapshot: id(1),
        source: SourceId([3; SourceId::LEN]),
        sequence: 1,
        need_list: id(2),
        segments: vec![id(3), id(4)],
    };
    let lock =
        LockSettings { mode: LockMode::Compliance, keep_days: 30, generation_days: 10, since: Timestamp(1) };
    let locks = vec![(ReplicaId([2; 16]), lock)];
    let bodies = [
        ("hold", 9, Body::Hold(id(1))),
        ("release", 9, Body::Release(id(1))),
        ("vouch", 0, Body::Vouch(vec![id(1), id(2)])),
        ("bad", 0, Body::Bad(vec![(KeyId([1; KeyId::LEN]), 7)])),
        ("certificate", 9, Body::Key { subject: certificate.holder().0, presence }),
        ("slot", 9, Body::Key { subject: [4; 16], presence: KeyPresence::Slot(id(5)) }),
        ("removed", 9, Body::Key { subject: [4; 16], presence: KeyPresence::Removed }),
        ("config", 9, Body::Config(Config { trust_writers: true, locks, ..Config::default() })),
    ];
    for (name, serial, body) in &bodies {
        let statement = sign(*serial, body, key);
        add(samples, "statement", name, statement.as_bytes());
        // Serial, kind and payload, as the target puts them together again for the owner.
        add(samples, "log-fold", name, [&[0b010], said(&statement).as_slice()].concat());
        entry(samples, name, Op::Publish { statement });
    }
    let statement = sign(0, &Body::Commit(commit), &writer());
    add(samples, "statement", "commit", statement.as_bytes());
    add(samples, "log-fold", "commit", [&[0b101], said(&statement).as_slice()].concat());
    let session = SessionId([5; SessionId::LEN]);
    entry(samples, "commit", Op::Commit { session, statement });
    entry(samples, "forget", Op::Forget { snapshots: vec![id(1), id(2)] });
    entry(samples, "index", Op::Index { session, segments: vec![id(3), id(4)] });
    let begin = Op::Begin { session, source: SourceId([3; SourceId::LEN]), parent: Some(id(1)) };
    entry(samples, "begin", begin);
    let config = sign(1, &Body::Config(Config::default()), key);
    entry(samples, "birth", Op::Birth { replica: ReplicaId([2; 16]), name: "first".to_owned(), config });
    let mut begin = vec![0b001, 2];
    begin.extend([[6; 16], [3; 16]].concat());
    begin.push(0);
    add(samples, "log-fold", "begin", begin);
}

/// Checkpoints of a short log, and of one in which a little of everything happened.
fn checkpoints(samples: &mut Samples) {
    let key = &owner().signing;
    let mut state = State::new(file().clone());
    let config = sign(1, &Body::Config(Config::default()), key);
    let mut fold = |op: Op| {
        let (n, previous) = (state.next(), state.head());
        let entry = Entry { n, previous, replica: ReplicaId([2; 16]), time: TIME, nonce: [3; 16], op };
        let folded = state.fold(n, &entry.sign(VAULT, key).unwrap()).unwrap();
        assert!(matches!(folded, Folded::Applied(_)), "{folded:?}");
        encode(&state, key).unwrap()
    };
    let born = fold(Op::Birth { replica: ReplicaId([2; 16]), name: "first".to_owned(), config });
    add(samples, "log-checkpoint", "birth", born);
    let (one, two) = (SessionId([5; 16]), SessionId([6; 16]));
    let source = SourceId([3; SourceId::LEN]);
    let commit =
        CommitStatement { snapshot: id(1), source, sequence: 1, need_list: id(2), segments: vec![id(3)] };
    let certificate = Certificate::new(writer().verify_key(), Role::Writer, "w", TIME);
    let presence = KeyPresence::Certificate(certificate.sign(VAULT, key).unwrap());
    let subject = certificate.holder().0;
    let bodies = [
        Body::Key { subject, presence },
        Body::Key { subject: [4; 16], presence: KeyPresence::Slot(id(5)) },
        Body::Hold(id(9)),
        Body::Vouch(vec![id(7)]),
        Body::Bad(vec![(KeyId([1; KeyId::LEN]), 7)]),
    ];
    let mut ops = vec![
        Op::Begin { session: one, source, parent: None },
        Op::Commit { session: one, statement: sign(0, &Body::Commit(commit), key) },
        Op::Begin { session: two, source, parent: Some(id(1)) },
        Op::Pin { pin: PinId([8; 16]), snapshot: id(1), expiry: TIME },
        Op::Condemn { names: vec![Name::pack(id(20)), Name::index(id(21))] },
        Op::Keep { session: two, names: vec![Name::index(id(21))] },
        Op::Sweep { names: vec![Name::pack(id(20))] },
        Op::Keep { session: two, names: vec![Name::pack(id(20))] },
        Op::Forget { snapshots: vec![id(1)] },
    ];
    let serials = 2..;
    ops.extend(serials.zip(&bodies).map(|(serial, body)| {
        let has_serial = !matches!(body, Body::Vouch(_) | Body::Bad(_));
        Op::Publish { statement: sign(if has_serial { serial } else { 0 }, body, key) }
    }));
    let everything = ops.into_iter().map(&mut fold).last();
    add(samples, "log-checkpoint", "everything", everything.unwrap());
}

/// The part of a statement that a target signs anew: serial, kind and payload without its length.
fn said(statement: &SignedStatement) -> Vec<u8> {
    let bytes = statement.as_bytes();
    let start = object(ObjectKind::Statement).finish().len() + WriterId::LEN + 8;
    let (head, payload) = bytes[start..bytes.len() - 64].split_at(9);
    let mut input = shudao_vault::codec::Decoder::new(payload, "payload");
    [head, input.bytes(1 << 20).unwrap()].concat()
}

fn entry(samples: &mut Samples, name: &str, op: Op) {
    let entry =
        Entry { n: 7, previous: [1; 32], replica: ReplicaId([2; 16]), time: TIME, nonce: [3; 16], op };
    add(samples, "log-entry", name, entry.sign(VAULT, &owner().signing).unwrap());
}

fn packs(samples: &mut Samples) {
    for (name, kind) in [("content", PackKind::Content), ("metadata", PackKind::Metadata)] {
        let pack = pack(kind);
        add(samples, "pack", name, pack.bytes.to_vec());
        let header = shudao_vault::pack::PackHeader::decode(&pack.bytes, VAULT).unwrap();
        add(samples, "pack-header", name, &pack.bytes[..header.len as usize]);
        let footer = &pack.bytes[pack.bytes.len() - 20..];
        add(samples, "pack-footer", name, [&(pack.bytes.len() as u64).to_le_bytes(), footer].concat());
    }
    add(samples, "pack-directory", "two-frames", directory());
    let mut builder = SegmentBuilder::new(owner());
    for kind in [PackKind::Content, PackKind::Metadata] {
        builder.add_pack(pack(kind).contents).unwrap();
    }
    add(samples, "segment", "two-packs", builder.end_segment().unwrap().unwrap().bytes.to_vec());
    add(samples, "segment-body", "two-frames", segment_body());

    let base: BTreeSet<PackId> = (0..9).map(id).collect();
    let full = NeedList::plan_next(None, &base);
    add(samples, "need-list", "full", full.encode(VAULT));
    let next: BTreeSet<PackId> = (1..10).map(id).collect();
    let change = NeedList::plan_next(Some(NeedBase { id: id(77), depth: 3, packs: &base }), &next);
    add(samples, "need-list", "change", change.encode(VAULT));

    let mut stored = Encoder::new();
    stored.u8(0).varint(5).raw(b"plain");
    add(samples, "frame", "stored", stored.finish());
    // zstd of 4096 times the letter a, as one raw-size frame with a repeated block.
    let mut repeated = Encoder::new();
    repeated.u8(1).varint(4096).raw(&[0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0x0f]);
    // Block header: last block, type RLE, 4096 bytes; then the byte.
    repeated.raw(&(1u32 | 1 << 1 | 4096 << 3).to_le_bytes()[..3]).raw(b"a");
    add(samples, "frame", "repeated", repeated.finish());
}

/// Where the frames end, then the plain directory of a pack of two frames.
fn directory() -> Vec<u8> {
    let header = shudao_vault::pack::PackHeader::decode(&pack(PackKind::Content).bytes, VAULT).unwrap();
    let mut out = Encoder::new();
    out.varint(1).raw(&[1; 16]).varint(2);
    out.varint(1).varint(0).varint(300).varint(0).varint(2).raw(&[1; 32]).varint(20).raw(&[2; 32]).varint(30);
    out.varint(1).varint(1).varint(200).varint(0).varint(1).raw(&[3; 32]).varint(40);
    let mut plain = out.finish();
    plain.resize(4096, 0);
    [(header.len + 500).to_le_bytes().as_slice(), &plain].concat()
}

/// The body of a segment over one pack of 4096 bytes.
fn segment_body() -> Vec<u8> {
    let mut out = Encoder::new();
    out.varint(1).raw(&[1; 16]).varint(2).raw(&[1; 16]).raw(&[2; 16]).varint(2);
    out.varint(0).varint(0).varint(0).varint(300).varint(200).varint(50).varint(0);
    out.varint(0).varint(1).varint(9).varint(500).varint(100).varint(40).varint(0);
    out.varint(2).raw(&[1; 32]).varint(0).varint(0).varint(50);
    out.raw(&[2; 32]).varint(1).varint(10).varint(30);
    out.finish()
}

fn snapshots(samples: &mut Samples) {
    let unread = Unread { path: b"a\xff".to_vec(), kind: UnreadKind::Unreadable, message: "denied".into() };
    let rich = Contents {
        tree: TreeRoot { digest: Digest::of(b"root"), level: 2 },
        roots: Roots { manifest: [1; 32], content: [2; 32] },
        source: "host:/srv".to_owned(),
        host: "host".to_owned(),
        paths: vec![b"/srv".to_vec(), b"/\xff".to_vec()],
        tags: vec!["weekly".to_owned()],
        excludes: vec!["*.tmp".to_owned()],
        one_file_system: true,
        counts: Counts { files: 3, directories: 2, bytes: 1 << 40, ..Counts::default() },
        started: TIME,
        finished: Timestamp(TIME.0 + 5),
        unread: UnreadList { total: 1, items: vec![unread] },
        need: vec![(id(1), 7), (id(2), 1)],
        program: "shudao".to_owned(),
    };
    let plain = Contents {
        paths: Vec::new(),
        tags: Vec::new(),
        excludes: Vec::new(),
        unread: UnreadList::default(),
        need: vec![(id(1), 1)],
        ..rich.clone()
    };
    for (name, contents, parent) in [("rich", rich, Some(id(9))), ("plain", plain, None)] {
        add(samples, "snapshot-contents", name, contents.encode(&[8; 32]).unwrap());
        let draft = Draft { sequence: 4, parent, time: TIME, contents };
        add(samples, "snapshot", name, draft.seal(owner()).unwrap());
    }
}

fn tree_entry(path: &str, node: Node, extents: Extents) -> TreeEntry {
    let xattrs = vec![
        Xattr { name: b"user.a".to_vec(), value: XattrValue::Inline(b"value".to_vec()) },
        Xattr {
            name: b"user.long".to_vec(),
            value: XattrValue::Chunk { digest: Digest::of(b"x"), length: 5000 },
        },
    ];
    let time = FileTime { seconds: -1, nanos: 5 };
    let portable = Portable {
        path: TreePath::new(path).unwrap(),
        node,
        mode: 0o644,
        uid: 0,
        gid: u32::MAX,
        mtime: time,
        xattrs,
        first_link: None,
    };
    let local = Local {
        user: b"root".to_vec(),
        group: Vec::new(),
        ctime: time,
        inode: 77,
        device: 5,
        extents,
        profile: 1,
        settled: true,
        torn: false,
    };
    TreeEntry { portable, local }
}

fn trees(samples: &mut Samples) {
    let digest = Digest::of(b"content");
    let pieces = vec![Extent::Data { digest, length: 60 }, Extent::Hole { length: 40 }];
    let file = |size| Node::File { size, digest };
    let mut link = tree_entry("d/link", file(100), Extents::Inline(pieces.clone()));
    link.portable.first_link = TreePath::new("d/file");
    let leaf = vec![
        tree_entry("", Node::Directory, Extents::default()),
        tree_entry("d", Node::Directory, Extents::default()),
        tree_entry("d/file", file(100), Extents::Inline(pieces.clone())),
        link,
        tree_entry("e", Node::Symlink { target: b"../\xff".to_vec() }, Extents::default()),
        tree_entry("f", Node::CharDevice { major: 1, minor: 3 }, Extents::default()),
        tree_entry("g", Node::Fifo, Extents::default()),
    ];
    add(samples, "tree-node", "leaf", TreeNode::Leaf(leaf).encode().unwrap());
    let child =
        |path: &str| Child { first: TreePath::new(path).unwrap(), digest, entries: 9, bytes: 1 << 40 };
    let branch = TreeNode::Branch { level: 1, children: vec![child("a"), child("a/b"), child("c")] };
    add(samples, "tree-node", "branch", branch.encode().unwrap());

    add(samples, "list-node", "leaf", ListNode::Leaf(pieces).encode().unwrap());
    let child = ListChild { digest, extents: 17, length: 1 << 30 };
    let branch = ListNode::Branch { level: 1, children: vec![child, child] };
    add(samples, "list-node", "branch", branch.encode().unwrap());

    let mut noise = vec![0; 8000];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
    add(samples, "chunker", "noise", noise);
    add(samples, "chunker", "zeros", vec![0; 3000]);
    add(samples, "object-trailer", "any", with_trailer(b"any bytes"));
}

fn text(samples: &mut Samples) {
    let sharing = Sharing { vault: VAULT, slot: SlotId([4; SlotId::LEN]), threshold: 2, count: 3 };
    let shares = split(&Secret([9; 32]), &sharing).unwrap();
    let lines: Vec<String> = shares[..2].iter().map(ToString::to_string).collect();
    add(samples, "share-text", "two-of-three", lines.join("\n"));
    let own: ReadPublic = public_of(&identity());
    add(samples, "recipient-text", "line", recipient_line(&own));
    add(samples, "identity-text", "line", identity_line(&identity()));
    add(samples, "policy-text", "rules", "keep-last 3 keep-daily=7 keep-within 1y6m utc-offset +08:00");
    add(samples, "passphrase-text", "words", "kettle lantern orchard harbour");
    add(samples, "passphrase-text", "marks", "e\u{301} 名\u{a0}  x");
    for (name, address) in [
        ("path", "/srv/vault"),
        ("file", "file:///srv/a%20vault"),
        ("s3", "s3://bucket/some/prefix?endpoint=https://s3.example.org&region=r"),
        ("oss", "oss://bucket/prefix?endpoint=https://oss.example.org"),
    ] {
        add(samples, "store-address", name, address);
    }
    add(samples, "retention", "governance", "GOVERNANCE\n2030-01-02T03:04:05Z");
    add(samples, "retention", "compliance", "COMPLIANCE\n2030-01-02T03:04:05.678+08:00");
}
