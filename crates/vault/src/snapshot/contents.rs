//! The sealed part of a snapshot.

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{Digest, ObjectId, PackId, Timestamp};
use crate::roots::Roots;
use crate::tree::LEVEL_MAX;

const WHAT: &str = "sealed part of a snapshot";
/// Source name, host and program.
const NAME_BYTES_MAX: usize = 4096;
/// Messages, tags and patterns.
const TEXT_BYTES_MAX: usize = 65_536;
/// Paths are as long as an entry can be.
const PATH_BYTES_MAX: usize = 1 << 20;

/// At most so many paths that were not read are listed; all are counted.
pub const UNREAD_MAX: usize = 10_000;

/// The root node of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRoot {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Its level.
    pub level: u8,
}

/// What the author knows of the source and of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The tree.
    pub tree: TreeRoot,
    /// What any live tree can be held against.
    pub roots: Roots,
    /// Name of the source.
    pub source: String,
    /// Host that was read.
    pub host: String,
    /// What was backed up, raw.
    pub paths: Vec<Vec<u8>>,
    /// Tags given by the operator.
    pub tags: Vec<String>,
    /// Exclude patterns in force.
    pub excludes: Vec<String>,
    /// Whether other mounts were left out.
    pub one_file_system: bool,
    /// What was found and done.
    pub counts: Counts,
    /// When the run began.
    pub started: Timestamp,
    /// When the run had read everything.
    pub finished: Timestamp,
    /// What was not read, or not read well.
    pub unread: UnreadList,
    /// For each pack, how many chunks and nodes of this snapshot lie in it; at least one each, by ascending id.
    pub need: Vec<(PackId, u64)>,
    /// Name and version of the writer.
    pub program: String,
}

/// What a run found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Fifos and devices.
    pub others: u64,
    /// Sockets, which are no entries.
    pub sockets_skipped: u64,
    /// Paths left out by patterns or the mount rule.
    pub excluded: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes newly stored on the first replica.
    pub bytes_added: u64,
}

/// Paths that were not read, or not read well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnreadList {
    /// How many there were.
    pub total: u64,
    /// The first of them, at most [`UNREAD_MAX`].
    pub items: Vec<Unread>,
}

impl UnreadList {
    /// Counts `unread`, and keeps it while there is room.
    pub fn add(&mut self, unread: Unread) {
        self.total += 1;
        if self.items.len() < UNREAD_MAX {
            self.items.push(unread);
        }
    }
}

/// A path that was not read, or not read well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The raw path below the snapshot's root.
    pub path: Vec<u8>,
    /// What happened.
    pub kind: UnreadKind,
    /// What the system said.
    pub message: String,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum UnreadKind {
    /// It could not be read; it is no entry.
    Unreadable = 1,
    /// It was gone when it was to be read; it is no entry.
    Vanished = 2,
    /// It changed while it was read; it is stored as read.
    Changed = 3,
    /// The format cannot hold it; it is no entry.
    Unstorable = 4,
    /// Its attributes could not be read; it is stored without them.
    InPart = 5,
}

impl UnreadKind {
    fn from_tag(tag: u8) -> Option<Self> {
        [Self::Unreadable, Self::Vanished, Self::Changed, Self::Unstorable, Self::InPart]
            .into_iter()
            .find(|kind| *kind as u8 == tag)
    }
}

impl Contents {
    /// The bytes to be sealed.
    ///
    /// # Errors
    /// [`Kind::Bug`] if they break a rule of the format.
    pub fn encode(&self, salt: &[u8; 32]) -> Result<Vec<u8>> {
        if let Some(fault) = self.fault() {
            return Err(Error::new(Kind::Bug, format!("encode snapshot: {fault}")));
        }
        let mut out = Encoder::new();
        out.raw(&self.tree.digest.0).u8(self.tree.level).raw(salt);
        out.raw(&self.roots.manifest).raw(&self.roots.content);
        out.bytes(self.source.as_bytes()).bytes(self.host.as_bytes());
        out.varint(self.paths.len() as u64);
        self.paths.iter().for_each(|path| {
            out.bytes(path);
        });
        for list in [&self.tags, &self.excludes] {
            out.varint(list.len() as u64);
            list.iter().for_each(|text| {
                out.bytes(text.as_bytes());
            });
        }
        out.u8(u8::from(self.one_file_system));
        self.counts.encode(&mut out);
        out.i64(self.started.0).i64(self.finished.0);
        out.varint(self.unread.total).varint(self.unread.items.len() as u64);
        for unread in &self.unread.items {
            out.bytes(&unread.path).u8(unread.kind as u8).bytes(unread.message.as_bytes());
        }
        out.varint(self.need.len() as u64);
        for (pack, references) in &self.need {
            out.raw(&pack.0).varint(*references);
        }
        out.bytes(self.program.as_bytes());
        Ok(out.finish())
    }

    /// Reads what [`Contents::encode`] wrote, and the salt.
    ///
    /// # Errors
    /// [`Kind::Damaged`] for every byte string that it does not write.
    pub fn decode(bytes: &[u8]) -> Result<(Self, [u8; 32])> {
        let mut input = Decoder::new(bytes, WHAT);
        let tree = TreeRoot { digest: Digest(input.array()?), level: input.u8()? };
        let salt = input.array()?;
        let contents = Self {
            tree,
            roots: Roots { manifest: input.array()?, content: input.array()? },
            source: text(&mut input, NAME_BYTES_MAX)?,
            host: text(&mut input, NAME_BYTES_MAX)?,
            paths: list(&mut input, |input| Ok(input.bytes(PATH_BYTES_MAX)?.to_vec()))?,
            tags: list(&mut input, |input| text(input, TEXT_BYTES_MAX))?,
            excludes: list(&mut input, |input| text(input, TEXT_BYTES_MAX))?,
            one_file_system: flag(&mut input)?,
            counts: Counts::decode(&mut input)?,
            started: Timestamp(input.i64()?),
            finished: Timestamp(input.i64()?),
            unread: UnreadList { total: input.varint()?, items: list(&mut input, unread)? },
            need: list(&mut input, |input| Ok((ObjectId(input.array()?), input.varint()?)))?,
            program: text(&mut input, NAME_BYTES_MAX)?,
        };
        if let Some(fault) = contents.fault() {
            return Err(input.error(fault));
        }
        input.finish()?;
        Ok((contents, salt))
    }

    fn fault(&self) -> Option<&'static str> {
        let names = [&self.source, &self.host, &self.program];
        let texts =
            self.tags.iter().chain(&self.excludes).chain(self.unread.items.iter().map(|u| &u.message));
        let paths = self.paths.iter().chain(self.unread.items.iter().map(|u| &u.path));
        if self.tree.level > LEVEL_MAX {
            Some("impossible level of the tree")
        } else if names.iter().any(|name| name.len() > NAME_BYTES_MAX)
            || texts.into_iter().any(|text| text.len() > TEXT_BYTES_MAX)
            || paths.into_iter().any(|path| path.len() > PATH_BYTES_MAX)
        {
            Some("a text is too long")
        } else if self.unread.items.len() > UNREAD_MAX || (self.unread.items.len() as u64) > self.unread.total
        {
            Some("impossible number of paths not read")
        } else if !self.need.is_sorted_by(|a, b| a.0 < b.0) || self.need.iter().any(|(_, count)| *count == 0)
        {
            Some("needed packs are not sorted, or not needed")
        } else {
            None
        }
    }
}

impl Counts {
    fn encode(&self, out: &mut Encoder) {
        let Self { files, directories, symlinks, others, sockets_skipped, excluded, .. } = *self;
        let Self { bytes, bytes_read, bytes_added, .. } = *self;
        for count in [files, directories, symlinks, others, sockets_skipped, excluded] {
            out.varint(count);
        }
        out.varint(bytes).varint(bytes_read).varint(bytes_added);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self {
            files: input.varint()?,
            directories: input.varint()?,
            symlinks: input.varint()?,
            others: input.varint()?,
            sockets_skipped: input.varint()?,
            excluded: input.varint()?,
            bytes: input.varint()?,
            bytes_read: input.varint()?,
            bytes_added: input.varint()?,
        })
    }
}

fn text(input: &mut Decoder<'_>, len_max: usize) -> Result<String> {
    let bytes = input.bytes(len_max)?.to_vec();
    String::from_utf8(bytes).map_err(|_| input.error("a text is not UTF-8"))
}

fn flag(input: &mut Decoder<'_>) -> Result<bool> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(input.error("unknown flags")),
    }
}

/// Reads a counted list, growing with what is really there.
fn list<T>(input: &mut Decoder<'_>, item: impl Fn(&mut Decoder<'_>) -> Result<T>) -> Result<Vec<T>> {
    let count = input.count(1)?;
    (0..count).map(|_| item(input)).collect()
}

fn unread(input: &mut Decoder<'_>) -> Result<Unread> {
    let path = input.bytes(PATH_BYTES_MAX)?.to_vec();
    let kind = UnreadKind::from_tag(input.u8()?).ok_or_else(|| input.error("unknown kind of unread path"))?;
    Ok(Unread { path, kind, message: text(input, TEXT_BYTES_MAX)? })
}
