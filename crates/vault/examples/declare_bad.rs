//! Declares the frame that holds a small file bad, as a check does that finds it lying: for the golden vault.
//!
//! ```text
//! SHUDAO_PASSWORD=... declare_bad VAULT FILE
//! ```
//!
//! VAULT is an address, the password a keeper's or the owner's; FILE is so small that it is one chunk, and was backed up.
//! Prints the pack's path and a byte in the middle of the frame: `packs/ab/abcd... 1234`.
#![allow(clippy::print_stdout, reason = "what it found is what it is for")]

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use shudao_vault::id::{Digest, Timestamp};
use shudao_vault::keys::Unlock;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::name::Name;
use shudao_vault::replica::Replica;
use shudao_vault::store::{Address, Store, StoreOptions};
use shudao_vault::vault::Vault;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vault, file] = &arguments[..] else { return Err("usage: declare_bad VAULT FILE".into()) };
    let password = std::env::var("SHUDAO_PASSWORD")?;
    let store = Store::open(&Address::parse(vault)?, &StoreOptions::default()).await?;
    let replica = Replica::open(store).await?;
    let mut vault = Vault::open(replica, &Unlock::Passphrase(&password), None).await?;
    let digest = Digest::of(&std::fs::read(file)?);
    let places = vault.reader().places(ChunkSpace::Content, &digest)?;
    let place = places.first().ok_or("the file was not backed up as one chunk")?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = Timestamp(i64::try_from(since.as_micros())?);
    vault.declare_bad(&[(place.key, u64::from(place.counter))], now).await?;
    let path = vault.replica().objects().key(&Name::pack(place.pack));
    println!("{path} {}", place.frame_offset + u64::from(place.stored_length / 2));
    Ok(())
}
