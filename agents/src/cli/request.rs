//! What goes into the engines: plain structs, resolved and checked, without flags, environment or config.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use shudao_vault::keys::Role;
use shudao_vault::retention::{Policy, Rules};
use shudao_vault::store::lock::LockMode;

use super::config::VaultConfig;
use super::parse::{ShareCount, SnapshotName};
use super::resolve::Unlock;
use super::secret::Password;

/// Where a vault is and how it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// The addresses of its replicas, at least one.
    pub(crate) replicas: Vec<String>,
    /// What opens it; read only when a key is needed.
    pub(crate) unlock: Unlock,
    /// Go on although the replica's log went back or forked.
    pub(crate) accept_rollback: bool,
    /// For what may be deleted.
    pub(crate) cache_dir: PathBuf,
    /// For journals and what was last seen of each replica.
    pub(crate) state_dir: PathBuf,
    /// `AWS_*` variables.
    pub(crate) cloud: BTreeMap<String, String>,
    /// What the config says of this vault.
    pub(crate) defaults: VaultConfig,
}

/// Snapshots that a command considers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Only of this source.
    pub(crate) source: Option<String>,
    /// Only with all of these tags.
    pub(crate) tags: Vec<String>,
}

/// One snapshot: its name among those selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotChoice {
    /// As it was named.
    pub(crate) name: SnapshotName,
    /// Among which.
    pub(crate) selection: Selection,
}

/// Rules by which snapshots are forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RulesChoice {
    /// These, in the time zone of whoever reads.
    Given(Rules),
    /// Those of the vault's config.
    Policy,
}

/// Make a vault.
#[derive(Debug)]
pub(crate) struct InitRequest {
    /// Addresses of its replicas, at least one.
    pub(crate) replicas: Vec<String>,
    /// What the owner's key is opened with.
    pub(crate) owner: OwnerSecret,
    /// A second way in is wanted, as text to be kept elsewhere.
    pub(crate) recovery_kit: bool,
    /// Writers deduplicate against each other's packs.
    pub(crate) trust_writers: bool,
    /// What keepers may forget.
    pub(crate) retention: Option<Policy>,
    /// For what was last seen of each replica.
    pub(crate) state_dir: PathBuf,
    /// `AWS_*` variables.
    pub(crate) cloud: BTreeMap<String, String>,
}

/// What a new vault is opened with.
#[derive(Debug)]
pub(crate) enum OwnerSecret {
    /// A password.
    Password(Password),
    /// The holder of this public key file's secret half.
    Recipient(Vec<u8>),
}

/// What a new key slot is opened with.
#[derive(Debug)]
pub(crate) enum NewSecret {
    /// A password.
    Password(Password),
    /// The holder of this public key file's secret half.
    Recipient(Vec<u8>),
    /// Any `needed` of `total` shares.
    Shares(ShareCount),
}

/// How the named replicas are to be kept locked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockRequest {
    /// Who may lift a lock before its time.
    pub(crate) mode: LockMode,
    /// Days after the end of a generation.
    pub(crate) keep_days: u32,
    /// Days of a generation.
    pub(crate) generation_days: u32,
}

/// Add a key.
#[derive(Debug)]
pub(crate) struct KeyAddRequest {
    /// What its holder may do.
    pub(crate) role: Role,
    /// What opens it.
    pub(crate) secret: NewSecret,
    /// Id, or prefix of the id, of the writer whose snapshots the new one reads and continues.
    pub(crate) after: Option<String>,
}

/// How hard content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Compression {
    /// As fast as the disk.
    Fast,
    /// The middle way.
    #[default]
    Default,
    /// As small as can be.
    Max,
}

/// Where a backup reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BackupInput {
    /// File trees; one becomes the snapshot's root, several keep their full paths.
    Paths(Vec<PathBuf>),
    /// What a command prints, as one file of this name. Its exit code decides success.
    Command {
        /// The file's name in the snapshot.
        name: String,
        /// The command and its arguments, at least one.
        argv: Vec<OsString>,
    },
}

/// Store a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct BackupRequest {
    /// Where it reads from.
    pub(crate) input: BackupInput,
    /// The source's name; by default host and path.
    pub(crate) source: Option<String>,
    /// Words to find it by.
    pub(crate) tags: Vec<String>,
    /// Gitignore-style patterns of what is left out; later ones win.
    pub(crate) patterns: Vec<String>,
    /// Stay on each path's file system.
    pub(crate) one_file_system: bool,
    /// Read every file, also those that look unchanged.
    pub(crate) rescan: bool,
    /// How hard content is compressed.
    pub(crate) compression: Compression,
    /// Send to and fetch from the store at most so many bytes a second.
    pub(crate) limit_bytes_per_second: Option<u64>,
    /// How long a replica may go without an answer when the others are done.
    pub(crate) patience: Duration,
    /// Read and count, store nothing.
    pub(crate) dry_run: bool,
}

/// Write a snapshot back.
#[derive(Debug, Clone)]
pub(crate) struct RestoreRequest {
    /// Which one.
    pub(crate) snapshot: SnapshotChoice,
    /// Into this directory.
    pub(crate) target: PathBuf,
    /// Only what matches one of these gitignore-style patterns, if there are any.
    pub(crate) include: Vec<String>,
    /// Not what matches these.
    pub(crate) exclude: Vec<String>,
    /// The directory may hold files; only what differs is written.
    pub(crate) in_place: bool,
}

/// Hold a live tree against a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct VerifyRequest {
    /// Against what.
    pub(crate) against: VerifyAgainst,
    /// The live tree.
    pub(crate) directory: PathBuf,
}

/// What a live tree is held against.
#[derive(Debug, Clone)]
pub(crate) enum VerifyAgainst {
    /// A snapshot of a vault.
    Snapshot(SnapshotChoice),
    /// A manifest root that was handed over; no vault is needed.
    Root([u8; 32]),
}

/// How deep a check goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum CheckDepth {
    /// Without keys: object hashes, the log's chain and signatures, presence of every needed name.
    Names,
    /// With keys: that every snapshot's tree and index fit together.
    Structure,
    /// And every frame of content; what is clean is vouched for.
    ReadData,
    /// And this percentage of the packs.
    Sample(f64),
}

/// Test a vault against itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CheckRequest {
    /// How deep.
    pub(crate) depth: CheckDepth,
    /// What is damaged is replaced from a sibling replica.
    pub(crate) repair: bool,
}

/// Measure a source.
#[derive(Debug, Clone)]
pub(crate) struct SurveyRequest {
    /// The tree.
    pub(crate) path: PathBuf,
    /// Gitignore-style patterns of what is left out.
    pub(crate) patterns: Vec<String>,
    /// Stay on the path's file system.
    pub(crate) one_file_system: bool,
    /// Forecast for uploads of at most so many bytes a second.
    pub(crate) limit_bytes_per_second: Option<u64>,
}
