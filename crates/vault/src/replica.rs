//! One replica of a vault: an object store, the vault's description and the state that its log says.
//!
//! Needs no key. Everything here is read from the store and checked against signatures; nothing is listed.

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::id::{Timestamp, VaultId};
use crate::log::client::Void;
use crate::log::{self, Envelope, Op, Signer, State, checkpoint};
use crate::object::{VAULT_FILE, log_path};
use crate::objects::Objects;
use crate::store::Store;
use crate::suite::SigningKey;
use crate::vault_file::VaultFile;

/// A replica whose log has been read up to its head.
#[derive(Clone)]
pub struct Replica {
    objects: Objects,
    file: VaultFile,
    state: State,
    void: Vec<Void>,
    /// Entries below this were not read, but taken from a checkpoint.
    checkpointed: u64,
}

impl Replica {
    /// Reads the vault's description and its log, the latter from the newest checkpoint on that is believed.
    ///
    /// # Errors
    /// [`Kind::NoVault`] when there is none, [`Kind::Damaged`] when description or log contradict themselves.
    pub async fn open(store: Store) -> Result<Self> {
        let mut replica = Self::described(store).await?;
        if let Some(state) = checkpoint::newest(replica.store(), &replica.file).await {
            replica.checkpointed = state.next();
            replica.state = state;
        }
        replica.begin().await
    }

    /// The same with every entry read, whatever checkpoints say.
    ///
    /// # Errors
    /// As [`Replica::open`].
    pub async fn open_from_birth(store: Store) -> Result<Self> {
        Self::described(store).await?.begin().await
    }

    async fn described(store: Store) -> Result<Self> {
        let bytes = match store.read(VAULT_FILE).await {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), Kind::Missing | Kind::NoVault) => {
                let message = format!("there is no vault at {}", store.address());
                return Err(Error::new(Kind::NoVault, message).because(error));
            }
            Err(error) => return Err(error.context(format!("open vault at {}", store.address()))),
        };
        let file = VaultFile::decode(&bytes).map_err(|error| {
            error.context(format!("{VAULT_FILE} at {} is damaged or was replaced", store.address()))
        })?;
        Ok(Self::of(store, file))
    }

    async fn begin(mut self) -> Result<Self> {
        self.catch_up().await?;
        if self.state.next() == 0 {
            let message = format!(
                "the vault at {} was never finished: it has no {}",
                self.store().address(),
                log_path(0)
            );
            return Err(Error::new(Kind::NoVault, message));
        }
        Ok(self)
    }

    fn of(store: Store, file: VaultFile) -> Self {
        Self {
            objects: Objects::new(store),
            state: State::new(file.clone()),
            file,
            void: Vec::new(),
            checkpointed: 0,
        }
    }

    /// Reads log entries that were appended since.
    pub async fn catch_up(&mut self) -> Result<()> {
        let caught_up = log::catch_up(self.objects.store(), &mut self.state).await;
        self.objects.learn(&self.state);
        self.void.extend(caught_up?);
        Ok(())
    }

    /// Appends to the log what `decide` wants on the state of the whole log; see [`log::append`].
    ///
    /// # Errors
    /// Those of [`log::append`].
    pub async fn append(
        &mut self,
        signer: Signer<'_>,
        decide: impl FnMut(&State) -> Result<Option<Op>>,
    ) -> Result<Option<u64>> {
        let appended = log::append(self.objects.store(), &mut self.state, signer, decide).await;
        self.objects.learn(&self.state);
        appended
    }

    /// Appends `op` on exactly the present state; see [`log::append_here`].
    ///
    /// # Errors
    /// Those of [`log::append_here`].
    pub async fn append_here(&mut self, signer: Signer<'_>, op: Op) -> Result<Option<u64>> {
        let appended = log::append_here(self.objects.store(), &mut self.state, signer, op).await;
        self.objects.learn(&self.state);
        appended
    }

    /// Succeeds if this client may write here, as far as the settings are known.
    ///
    /// # Errors
    /// [`Kind::NotTheWriter`] if they name another one that alone may.
    pub fn must_be_writer(&self) -> Result<()> {
        self.state.config().require_writer(self.store().client())
    }

    /// The object store.
    pub fn store(&self) -> &Store {
        self.objects.store()
    }

    /// The objects that are named by their hashes, at the keys that the log gives them.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The vault's description.
    pub fn file(&self) -> &VaultFile {
        &self.file
    }

    /// The vault's id.
    pub fn vault_id(&self) -> VaultId {
        self.file.vault
    }

    /// What the log says.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When the replica was born, by its maker's clock.
    pub async fn born(&self) -> Result<Timestamp> {
        let bytes = self.store().read(&log_path(0)).await?;
        Ok(Envelope::decode(&bytes, self.file.vault)?.time)
    }

    /// The number of entries that were taken from a checkpoint and not read.
    pub fn checkpointed(&self) -> u64 {
        self.checkpointed
    }

    /// Puts a checkpoint if the last one is far enough behind. Says whether it did.
    ///
    /// # Errors
    /// Those of [`checkpoint::put`].
    pub(crate) async fn checkpoint(&mut self, owner: &SigningKey) -> Result<bool> {
        if self.state.next() < self.checkpointed.saturating_add(checkpoint::ENTRIES_BETWEEN) {
            return Ok(false);
        }
        checkpoint::put(self.objects.store(), &self.state, owner).await?;
        self.checkpointed = self.state.next();
        Ok(true)
    }

    /// Log entries that were read and had no effect, and why; to be shown.
    pub fn void_entries(&self) -> &[Void] {
        &self.void
    }

    /// Store and state for the log's client.
    pub(crate) fn log_parts(&mut self) -> (&Store, &mut State) {
        (self.objects.store(), &mut self.state)
    }

    /// Puts the vault's description, which must not exist yet.
    pub(crate) async fn claim(store: Store, file: VaultFile) -> Result<Self> {
        let bytes = Bytes::from(file.encode());
        match store.create(VAULT_FILE, bytes).await? {
            crate::store::Creation::New => Ok(Self::of(store, file)),
            crate::store::Creation::Exists => {
                let address = store.address();
                let message = match store.size(&log_path(0)).await? {
                    Some(_) => format!("there is a vault at {address} already"),
                    None => format!(
                        "a vault was begun at {address} and never finished; nothing is stored in it: remove {VAULT_FILE} \
                         and keys/ there first"
                    ),
                };
                Err(Error::new(Kind::Conflict, message))
            }
        }
    }
}
