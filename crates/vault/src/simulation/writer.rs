//! A backup in small, in the order of `docs/format`: take up what an interrupted one left, store what is new, make checkpoints,
//! answer keepers, commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::{Client, DAY, HOUR};
use crate::entry::{Extents, Node};
use crate::id::{PackId, SegmentId, SessionId, SourceId};
use crate::log::{Signer, State};
use crate::name::{Area, Name};
use crate::pack::{FinishedPack, PackContents, PackEnds, PackKind};
use crate::resume::{self, Checkpoint, PackMark, Place, Shelf};
use crate::sample::{Nodes, contents, entry, pack};
use crate::session::{PackStore, Session};
use crate::snapshot::TreeRoot;
use crate::sync::Shortfall;
use crate::tree::TreeBuilder;
use crate::vault::Vault;
use crate::{Error, Kind, Result};

/// Frames in a pack.
const FRAMES: usize = 2;
/// Groups of neighbouring files that change together, and the contents that a group may have: few, so that what was
/// forgotten comes back again and again.
const GROUPS: u64 = 4;
const CONTENTS: u64 = 3;
/// Files in a group: enough for leaves of a tree that differ.
const GROUP_FILES: u64 = 12;

/// What the host remembers of a run that has not committed.
#[derive(Default)]
pub(super) struct Journal {
    session: Option<SessionId>,
    /// Packs that were sent or about to be.
    packs: Vec<PackContents>,
}

/// A session, and what it took up.
struct Begun {
    session: Session,
    /// Of its next checkpoint.
    place: Place,
    shelf: Shelf,
}

impl Client {
    pub(super) async fn back_up(&mut self, vault: &mut Vault, source: u8) -> Result<()> {
        let source = SourceId([source; 16]);
        // Who goes on with an interrupted run mostly finds what that one found.
        if vault.interrupted(&source).is_empty() || self.draw.below(4) == 0 {
            self.change_files();
        }
        let run = self.world.runs.get();
        self.world.runs.set(run + 1);
        self.world.meant.borrow_mut().insert(run, self.files.clone());
        let mut begun = self.begin(vault, source).await?;
        let adopted = begun.shelf.segments.clone();
        let mut nodes = Nodes::default();
        let tree = self.tree(vault, &mut nodes)?;
        let ring = Arc::clone(vault.ring());
        let reliance = vault.reliance().and(adopted.clone());
        let mut need: BTreeMap<PackId, u64> = BTreeMap::new();
        let kind = PackKind::Metadata;
        let mut fresh = Vec::new();
        for (digest, bytes) in &nodes.0 {
            let id = ring.chunk_id(kind.space(), digest);
            let places = vault.index().lookup(&id, kind.space())?;
            match places.iter().filter(|place| reliance.allows(place)).map(|place| place.pack).min() {
                Some(pack) => *need.entry(pack).or_default() += 1,
                None => fresh.push((id, bytes)),
            }
        }
        let known = need.keys().copied().collect();
        let shortfall = Shortfall::plan(&known, &vault.replica().state().segments_staying(), vault.index())?;
        let packs = fresh.chunks(FRAMES).map(|chunks| (pack(kind, &ring, chunks), chunks.len() as u64));
        let mut segments = self.store(vault, packs.collect(), &mut begun, &mut need).await?;
        segments.extend(adopted.into_iter().filter(|segment| shortfall.segments.contains(segment)));
        self.world.wait(&self.draw, DAY).await;
        if self.draw.below(2) == 0 {
            let signer = Signer { key: &ring.signing, time: self.now() };
            // Any segment may be the one that speaks of a pack that is needed.
            let relies = |name: &&Name| name.area == Area::Index || need.contains_key(&name.id);
            let relied = |state: &State| state.condemned().keys().filter(relies).copied().collect();
            begun.session.attend(vault.replica_mut(), signer, relied).await?;
            self.world.wait(&self.draw, DAY).await;
        }
        let mut contents = contents(tree, need.into_iter().collect(), self.now());
        contents.tags = vec![run.to_string()];
        let now = self.now();
        vault.commit(begun.session, contents, segments, now).await?;
        self.journal = Journal::default();
        Ok(())
    }

    /// Begins a session, or goes on with this host's own one, and adopts what an interrupted one stored: as a real run does.
    async fn begin(&mut self, vault: &mut Vault, source: SourceId) -> Result<Begun> {
        // Every other time the run is begun on another host, which knows of the one before only what the vault tells.
        let is_elsewhere = self.draw.below(2) == 0;
        let Journal { session, packs } = std::mem::take(&mut self.journal);
        let session = session.filter(|id| !is_elsewhere && !vault.has_committed(*id));
        let packs = if session.is_some() { packs } else { Vec::new() };
        let mut shelf = Shelf::default();
        for id in vault.interrupted(&source) {
            if let Some(checkpoint) = vault.checkpoint_of(id).await?.checkpoint {
                shelf = checkpoint.shelf;
                break;
            }
        }
        let own = session.and_then(|id| Session::of_log(vault.replicas(), vault.ring(), id, source));
        let (session, k) = match own {
            Some((own, _)) => {
                let k = vault.checkpoint_of(own.id).await?.next;
                (own, k)
            }
            None => (vault.begin(source, self.now()).await?, 0),
        };
        self.journal = Journal { session: Some(session.id), packs: packs.clone() };
        vault.refresh().await?;
        let adopted = vault.adopt((&session, 0), shelf, packs, self.now()).await?;
        let place = Place { session: session.id, k };
        Ok(Begun { session, place, shelf: Shelf { segments: adopted.segments, packs: Vec::new() } })
    }

    /// Stores packs, with checkpoints now and then, and returns the segments over them.
    async fn store(
        &mut self,
        vault: &Vault,
        sealed: Vec<(FinishedPack, u64)>,
        begun: &mut Begun,
        need: &mut BTreeMap<PackId, u64>,
    ) -> Result<Vec<SegmentId>> {
        let (ring, objects) = (Arc::clone(vault.ring()), vault.replica().objects().clone());
        let mut packs = PackStore::new(&objects, &ring);
        let mut segments = Vec::new();
        for (pack, frames) in sealed {
            self.journal.packs.push(pack.contents.clone());
            *need.entry(pack.pack().id).or_default() += frames;
            self.world.wait(&self.draw, HOUR).await;
            packs.putter().put_pack(&pack).await?;
            let digest = PackEnds::of(&pack, ring.vault)?.digest();
            begun.shelf.packs.push(PackMark { pack: pack.pack(), digest });
            packs.acknowledged(pack).await?;
            match self.draw.below(8) {
                0 => {
                    let ended = std::mem::replace(&mut packs, PackStore::new(&objects, &ring));
                    segments.extend(ended.finish().await?);
                    begun.shelf.packs.clear();
                    begun.shelf.segments.extend(&segments);
                }
                1 | 2 => {
                    let checkpoint = Checkpoint { shelf: begun.shelf.clone(), ..Checkpoint::default() };
                    let store = objects.store();
                    let placed = resume::put(store, begun.place, &ring, &checkpoint).await?;
                    begun.place.k = placed.k + 1;
                }
                _ => {}
            }
        }
        segments.extend(packs.finish().await?);
        Ok(segments)
    }

    fn change_files(&mut self) {
        let changes = if self.files.is_empty() { GROUPS } else { 1 };
        for _ in 0..changes {
            let (group, content) = (self.draw.below(GROUPS), self.draw.below(CONTENTS));
            for file in 0..GROUP_FILES {
                self.files.insert(format!("g{group}f{file:02}"), content);
            }
        }
    }

    /// A tree whose leaves are the whole content: long links.
    fn tree(&self, vault: &Vault, nodes: &mut Nodes) -> Result<TreeRoot> {
        let boundary = vault.ring().boundary.clone();
        let boundary = boundary.ok_or_else(|| Error::new(Kind::Bug, "the owner has every key"))?;
        let mut tree = TreeBuilder::new(&boundary);
        tree.push(&entry("", Node::Directory, Vec::new(), Extents::default()), nodes)?;
        for (path, number) in &self.files {
            let target = format!("{number} {}", "x".repeat(150)).into_bytes();
            tree.push(&entry(path, Node::Symlink { target }, Vec::new(), Extents::default()), nodes)?;
        }
        let summary = tree.finish(nodes)?;
        Ok(TreeRoot { digest: summary.root, level: summary.level })
    }
}
