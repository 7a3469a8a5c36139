//! What the owner has settled for the vault, as a config statement carries it.

use crate::codec::{Decoder, Encoder};
use crate::error::{Error, Kind, Result};
use crate::id::{ClientId, ReplicaId, Timestamp};
use crate::keys::{decode_ascending, decode_text, encode_text};
use crate::store::lock::LockMode;

/// A feature's name is at most this long.
const FEATURE_BYTES_MAX: usize = 64;
/// The retention rules' text is at most this long.
const RETENTION_BYTES_MAX: usize = 4096;
/// A name for people is at most this long.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// No chunk is longer than this.
const CHUNK_BYTES_MAX: u32 = 64 << 20;

/// Locks hold at most this many days from the end of their generation: a hundred years.
const LOCK_DAYS_MAX: u32 = 36_500;
/// A lock generation has at most this many days.
const GENERATION_DAYS_MAX: u32 = 366;

/// The features that this build knows. There are none beyond the base yet.
const FEATURES_KNOWN: &[&str] = &[];

/// What a client wants to do with the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Read it.
    Read,
    /// Append to its log.
    Write,
}

/// A feature that a client must know for an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// The operation.
    pub operation: Operation,
    /// The feature's name, at most 64 bytes.
    pub name: String,
}

/// Chunk lengths in bytes: `0 < min <= average <= max <= 64 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkerProfile {
    /// The number by which entries name the profile.
    pub number: u8,
    /// Least length.
    pub min: u32,
    /// Average length.
    pub average: u32,
    /// Greatest length.
    pub max: u32,
}

impl ChunkerProfile {
    fn is_legal(&self) -> bool {
        0 < self.min && self.min <= self.average && self.average <= self.max && self.max <= CHUNK_BYTES_MAX
    }
}

/// How the objects of one replica are kept locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockSettings {
    /// Who may lift a lock before its time.
    pub mode: LockMode,
    /// Days, from 1 to 36,500, for which objects are locked after the end of their generation.
    pub keep_days: u32,
    /// Days of a generation, from 1 to 366: a pass over what is needed is due once in each.
    pub generation_days: u32,
    /// Since when, by the owner's clock: what was committed before was not locked by its commit.
    pub since: Timestamp,
}

impl LockSettings {
    /// Whether the numbers of days are within their bounds.
    pub fn is_legal(&self) -> bool {
        (1..=LOCK_DAYS_MAX).contains(&self.keep_days)
            && (1..=GENERATION_DAYS_MAX).contains(&self.generation_days)
    }

    fn encode(&self, out: &mut Encoder) {
        out.u8(match self.mode {
            LockMode::Governance => 1,
            LockMode::Compliance => 2,
        });
        out.u32(self.keep_days).u32(self.generation_days).i64(self.since.0);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let mode = match input.u8()? {
            1 => LockMode::Governance,
            2 => LockMode::Compliance,
            _ => return Err(input.error("a lock is of an unknown mode")),
        };
        let (keep_days, generation_days) = (input.u32()?, input.u32()?);
        let settings = Self { mode, keep_days, generation_days, since: Timestamp(input.i64()?) };
        if !settings.is_legal() {
            return Err(input.error("a lock's numbers of days are out of bounds"));
        }
        Ok(settings)
    }
}

/// The owner's settings. The config statement of highest serial is in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Features that a client must know.
    pub features: Vec<Feature>,
    /// Whether writers deduplicate against each other's chunks unvouched.
    pub trust_writers: bool,
    /// Chunker profiles, ascending by number.
    pub profiles: Vec<ChunkerProfile>,
    /// Retention rules as text; at most 4096 bytes.
    pub retention: String,
    /// Names of replicas, ascending by id.
    pub replicas: Vec<(ReplicaId, String)>,
    /// The one client that may append, for stores that cannot create if absent.
    pub single_writer: Option<ClientId>,
    /// Replicas whose objects are kept locked, and how; ascending by id.
    pub locks: Vec<(ReplicaId, LockSettings)>,
}

impl Config {
    /// How the objects of this replica are kept locked; none if they are not.
    pub fn lock_of(&self, replica: ReplicaId) -> Option<&LockSettings> {
        self.locks.iter().find(|(id, _)| *id == replica).map(|(_, lock)| lock)
    }

    /// Succeeds if this build knows every feature that `operation` needs; writing needs those for reading too.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] naming the feature.
    pub fn require_known(&self, operation: Operation) -> Result<()> {
        let unknown = self.features.iter().find(|feature| {
            feature.operation <= operation && !FEATURES_KNOWN.contains(&feature.name.as_str())
        });
        match unknown {
            None => Ok(()),
            Some(feature) => Err(Error::new(
                Kind::Unsupported,
                format!("use the vault: it needs feature {:?}; a newer shudao is needed", feature.name),
            )),
        }
    }

    /// Succeeds if no client is named that alone may write, or `client` is it.
    ///
    /// # Errors
    /// [`Kind::NotTheWriter`], naming both.
    pub fn require_writer(&self, client: Option<ClientId>) -> Result<()> {
        match self.single_writer {
            None => Ok(()),
            Some(named) if client == Some(named) => Ok(()),
            Some(named) => {
                let here =
                    client.map_or("this client has no name".to_owned(), |id| format!("this is client {id}"));
                let message = format!(
                    "write to the vault: only client {named} may, because a store of this vault cannot keep the order of \
                     several; {here}"
                );
                Err(Error::new(Kind::NotTheWriter, message))
            }
        }
    }

    /// Appends the payload; [`Kind::Input`] for what a reader would refuse.
    pub(crate) fn encode(&self, out: &mut Encoder) -> Result<()> {
        let refused = |problem: &str| Err(Error::new(Kind::Input, format!("write config: {problem}")));
        out.varint(self.features.len() as u64);
        for feature in &self.features {
            out.u8(match feature.operation {
                Operation::Read => 1,
                Operation::Write => 2,
            });
            encode_text(out, &feature.name, FEATURE_BYTES_MAX)?;
        }
        out.u8(u8::from(self.trust_writers));
        if !self.profiles.is_sorted_by(|left, right| left.number < right.number)
            || !self.profiles.iter().all(ChunkerProfile::is_legal)
        {
            return refused("chunker profiles ascend by number and by lengths");
        }
        out.varint(self.profiles.len() as u64);
        for profile in &self.profiles {
            out.u8(profile.number).u32(profile.min).u32(profile.average).u32(profile.max);
        }
        encode_text(out, &self.retention, RETENTION_BYTES_MAX)?;
        if !self.replicas.is_sorted_by(|left, right| left.0 < right.0) {
            return refused("replicas ascend by id");
        }
        out.varint(self.replicas.len() as u64);
        for (replica, name) in &self.replicas {
            out.raw(&replica.0);
            encode_text(out, name, NAME_BYTES_MAX)?;
        }
        match &self.single_writer {
            None => out.u8(0),
            Some(client) => out.u8(1).raw(&client.0),
        };
        if !self.locks.is_sorted_by(|left, right| left.0 < right.0)
            || !self.locks.iter().all(|(_, lock)| lock.is_legal())
        {
            return refused("locks ascend by replica, keep 1 to 36,500 days, in generations of 1 to 366");
        }
        out.varint(self.locks.len() as u64);
        for (replica, lock) in &self.locks {
            lock.encode(out.raw(&replica.0));
        }
        Ok(())
    }

    /// Reads the payload.
    pub(crate) fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let mut features = Vec::new();
        for _ in 0..input.count(2)? {
            let operation = match input.u8()? {
                1 => Operation::Read,
                2 => Operation::Write,
                _ => return Err(input.error("a feature is for an unknown operation")),
            };
            features.push(Feature { operation, name: decode_text(input, FEATURE_BYTES_MAX)? });
        }
        let trust_writers = decode_flag(input)?;
        let profile = |input: &mut Decoder<'_>| {
            let (number, min) = (input.u8()?, input.u32()?);
            Ok(ChunkerProfile { number, min, average: input.u32()?, max: input.u32()? })
        };
        let profiles = decode_ascending(input, 13, profile, |profile| profile.number)?;
        if !profiles.iter().all(ChunkerProfile::is_legal) {
            return Err(input.error("a chunker profile's lengths are impossible"));
        }
        let retention = decode_text(input, RETENTION_BYTES_MAX)?;
        let replica =
            |input: &mut Decoder<'_>| Ok((ReplicaId(input.array()?), decode_text(input, NAME_BYTES_MAX)?));
        let replicas = decode_ascending(input, ReplicaId::LEN + 1, replica, |(id, _)| *id)?;
        let single_writer = if decode_flag(input)? { Some(ClientId(input.array()?)) } else { None };
        let lock = |input: &mut Decoder<'_>| Ok((ReplicaId(input.array()?), LockSettings::decode(input)?));
        let locks = decode_ascending(input, ReplicaId::LEN + 17, lock, |(id, _)| *id)?;
        Ok(Self { features, trust_writers, profiles, retention, replicas, single_writer, locks })
    }
}

/// Reads a byte that is 0 or 1.
pub(crate) fn decode_flag(input: &mut Decoder<'_>) -> Result<bool> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(input.error("a flag is neither 0 nor 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_feature_stops_what_it_is_required_for() {
        let config = |operation| Config {
            features: vec![Feature { operation, name: "x".to_owned() }],
            ..Config::default()
        };
        for (config, read, write) in [
            (Config::default(), true, true),
            (config(Operation::Write), true, false),
            (config(Operation::Read), false, false),
        ] {
            assert_eq!(config.require_known(Operation::Read).is_ok(), read);
            assert_eq!(config.require_known(Operation::Write).is_ok(), write);
        }
    }

    #[test]
    fn what_a_reader_would_refuse_is_not_written() {
        let profile = ChunkerProfile { number: 1, min: 1, average: 2, max: 3 };
        let profiles =
            |profiles: &[ChunkerProfile]| Config { profiles: profiles.to_vec(), ..Config::default() };
        let replica = (ReplicaId([1; 16]), "a".to_owned());
        let lock = LockSettings {
            mode: LockMode::Governance,
            keep_days: 30,
            generation_days: 10,
            since: Timestamp(0),
        };
        let locks = |locks: &[LockSettings]| Config {
            locks: locks.iter().map(|lock| (replica.0, *lock)).collect(),
            ..Config::default()
        };
        locks(&[lock]).encode(&mut Encoder::new()).unwrap();
        for config in [
            locks(&[lock, lock]),
            locks(&[LockSettings { keep_days: 0, ..lock }]),
            locks(&[LockSettings { keep_days: 36_501, ..lock }]),
            locks(&[LockSettings { generation_days: 0, ..lock }]),
            locks(&[LockSettings { generation_days: 367, ..lock }]),
            profiles(&[profile, profile]),
            profiles(&[ChunkerProfile { min: 0, ..profile }]),
            profiles(&[ChunkerProfile { average: 4, ..profile }]),
            profiles(&[ChunkerProfile { max: u32::MAX, ..profile }]),
            Config { retention: "x".repeat(5000), ..Config::default() },
            Config { replicas: vec![replica.clone(), replica.clone()], ..Config::default() },
        ] {
            assert_eq!(config.encode(&mut Encoder::new()).unwrap_err().kind(), Kind::Input);
        }
    }
}
