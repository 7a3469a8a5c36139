//! `shudao vault key`: add, list, remove, rotate, identity.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use shudao_vault::keys::Role;
use shudao_vault::suite::random;

use super::identity::{self, IdentityArgs};
use crate::cli::args::AccessArgs;
use crate::cli::context::Context;
use crate::cli::engine::{self, OpenVault, Opening};
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Label, Notice, Problem};
use crate::cli::new_file::NewFile;
use crate::cli::parse::ShareCount;
use crate::cli::path::{RawPath, escaped};
use crate::cli::report::KeyLine;
use crate::cli::request::{KeyAddRequest, NewSecret};
use crate::cli::show::{self, Side, Table};
use crate::cli::{resolve, secret, snapshots};

/// Manage the keys that open the vault
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Add(KeyAddArgs),
    List(KeyListArgs),
    Remove(KeyRemoveArgs),
    Rotate(KeyRotateArgs),
    Identity(IdentityArgs),
}

/// Add a key.
///
/// A new password comes from SHUDAO_NEW_PASSWORD, SHUDAO_NEW_PASSWORD_FILE or a prompt, where an empty answer has one
/// generated.
#[derive(Debug, Args)]
struct KeyAddArgs {
    /// What the holder may do: owner reads everything, writer backs up only, keeper maintains without seeing content
    #[arg(long, value_enum)]
    role: RoleName,
    /// Open the key with the secret half of this public key file instead of a password
    #[arg(long, value_name = "FILE", conflicts_with = "shares")]
    recipient: Option<PathBuf>,
    /// Split the key into N shares of which any K open it
    #[arg(long, value_name = "K/N", requires = "to")]
    shares: Option<ShareCount>,
    /// Write the shares to this directory, a file each
    #[arg(long, value_name = "DIR", requires = "shares")]
    to: Option<PathBuf>,
    /// Let the new writer read and continue the snapshots of this one, by its id or the beginning of it
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    Owner,
    Writer,
    Keeper,
}

/// List the keys
#[derive(Debug, Args)]
struct KeyListArgs {
    #[command(flatten)]
    access: AccessArgs,
}

/// Remove a key: shows it, acts with --yes
#[derive(Debug, Args)]
struct KeyRemoveArgs {
    /// The key's id, or the beginning of it
    #[arg(value_name = "KEY")]
    key: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Begin a new generation of the read and metadata keys.
///
/// What is stored from then on is under the new generation; what is stored already stays under the old one.
#[derive(Debug, Args)]
struct KeyRotateArgs {
    #[command(flatten)]
    access: AccessArgs,
}

pub(crate) async fn run(ctx: &Context, args: KeyArgs) -> Result<Exit> {
    match args.command {
        KeyCommand::Add(args) => add(ctx, args).await,
        KeyCommand::List(args) => list(ctx, args).await,
        KeyCommand::Remove(args) => remove(ctx, args).await,
        KeyCommand::Rotate(args) => rotate(ctx, args).await,
        KeyCommand::Identity(args) => identity::run(ctx, &args),
    }
}

async fn open(ctx: &Context, access: &AccessArgs) -> Result<OpenVault> {
    let access = ctx.access(access)?;
    engine::open(ctx, &access, Opening::WithKey).await
}

async fn add(ctx: &Context, args: KeyAddArgs) -> Result<Exit> {
    if args.after.is_some() && !matches!(args.role, RoleName::Writer) {
        return Err(Failure::usage(Problem::AfterNeedsWriter {}, Hint::SeeHelp {}));
    }
    if let Some(dir) = &args.to {
        must_take_files(dir)?;
    }
    let recipient = args.recipient.as_deref().map(secret::read_file).transpose()?;
    let vault = open(ctx, &args.access).await?;
    let mut generated = None;
    let secret = match (recipient, args.shares) {
        (Some(public), _) => NewSecret::Recipient(public.as_bytes().to_vec()),
        (None, Some(count)) => NewSecret::Shares(count),
        (None, None) => {
            let new = ctx.new_password(&resolve::new_password(&ctx.environment))?;
            generated = new.generated.then(|| new.password.as_str().to_owned()).map(zeroize::Zeroizing::new);
            NewSecret::Password(new.password)
        }
    };
    let role = match args.role {
        RoleName::Owner => Role::Owner,
        RoleName::Writer => Role::Writer,
        RoleName::Keeper => Role::Keeper,
    };
    let added = engine::key_add(ctx, &vault, KeyAddRequest { role, secret, after: args.after }).await?;
    if let Some(password) = generated {
        ctx.output.secret(&Notice::GeneratedPassword { password: password.to_string() });
    }
    if let Some(dir) = &args.to {
        for (place, text) in added.shares.iter().enumerate() {
            let path =
                dir.join(format!("shudao-share-{}-{}", added.key.key.get(..8).unwrap_or("key"), place + 1));
            write_share(&path, text)?;
            ctx.output.say(&Notice::ShareWritten { path: RawPath::from(path.as_path()).to_string() })?;
        }
    }
    ctx.output.say(&Notice::KeyAdded { key: added.key.key.clone(), role: escaped(&added.key.role) })?;
    let totals = vault.totals_of_change();
    let exit = ctx.conclude(&totals);
    ctx.summary(&totals, &added.key)?;
    Ok(exit)
}

/// Tries the directory before the key is added, so that no key stands whose shares nobody has.
fn must_take_files(dir: &Path) -> Result<()> {
    let path = dir.join(format!(".shudao-share-{:08x}", u32::from_le_bytes(random())));
    NewFile::create(&path, 0o600).map(drop).map_err(|error| {
        let problem = Problem::WriteShare { path: RawPath::from(dir).to_string() };
        Failure::usage(problem, Hint::CheckDirectory {}).because(&error)
    })
}

fn write_share(path: &Path, text: &str) -> Result<()> {
    let written = NewFile::create(path, 0o600).and_then(|mut file| {
        file.write(text.as_bytes())?;
        file.keep();
        Ok(())
    });
    written.map_err(|error| {
        let problem = Problem::WriteShare { path: RawPath::from(path).to_string() };
        Failure::new(Exit::Failed, problem, Hint::RemoveKeyAndAddAgain {}).because(&error)
    })
}

async fn list(ctx: &Context, args: KeyListArgs) -> Result<Exit> {
    let vault = open(ctx, &args.access).await?;
    let keys = engine::key_list(ctx, &vault).await?;
    ctx.output.lines(&table(ctx, &keys).lines())?;
    for key in &keys {
        ctx.output.object("key", key)?;
    }
    ctx.summary(&vault.totals(), &serde_json::json!({ "keys": keys.len() }))?;
    Ok(Exit::Done)
}

fn table(ctx: &Context, keys: &[KeyLine]) -> Table {
    let lang = ctx.output.lang();
    let columns = [Label::Key {}, Label::Role {}, Label::Slot {}, Label::Added {}, Label::Nothing {}];
    let mut table = Table::new(columns.map(|label| (label.text(lang), Side::Left)));
    for key in keys {
        let current = if key.current { Label::ThisKey {}.text(lang) } else { String::new() };
        table.row([
            show::short_id(&key.key),
            escaped(&key.role),
            slot_word(&key.slot).text(lang),
            show::time(key.added, &ctx.zone),
            current,
        ]);
    }
    table
}

/// How people call what opens a slot.
fn slot_word(slot: &str) -> Label {
    match slot {
        "recipient" => Label::SlotRecipient {},
        "shares" => Label::SlotShares {},
        "recovery" => Label::SlotRecovery {},
        _ => Label::SlotPassword {},
    }
}

async fn remove(ctx: &Context, args: KeyRemoveArgs) -> Result<Exit> {
    #[derive(Serialize)]
    struct Removed {
        key: String,
    }
    let vault = open(ctx, &args.access).await?;
    let key = engine::key_find(ctx, &vault, &args.key).await?;
    ctx.output.lines(&table(ctx, std::slice::from_ref(&key)).lines())?;
    ctx.output.object("key", &key)?;
    let made = engine::key_made(ctx, &vault, &key).await?;
    if !made.is_empty() {
        ctx.output.say(&Notice::KeyWrote {})?;
        snapshots::print(ctx, &made)?;
    }
    ctx.output.notice(&Notice::OldCopiesStayOpenable {});
    if !args.yes {
        return Err(ctx.unconfirmed());
    }
    engine::key_remove(ctx, &vault, &key.key).await?;
    ctx.output.say(&Notice::KeyRemoved { key: key.key.clone() })?;
    let totals = vault.totals_of_change();
    let exit = ctx.conclude(&totals);
    ctx.summary(&totals, &Removed { key: key.key })?;
    Ok(exit)
}

async fn rotate(ctx: &Context, args: KeyRotateArgs) -> Result<Exit> {
    let vault = open(ctx, &args.access).await?;
    let rotated = engine::key_rotate(ctx, &vault).await?;
    ctx.output.say(&Notice::KeysRotated { generation: rotated.generation })?;
    let totals = vault.totals_of_change();
    let exit = ctx.conclude(&totals);
    ctx.summary(&totals, &rotated)?;
    Ok(exit)
}
