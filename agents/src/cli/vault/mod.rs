//! `shudao vault`: make a vault, look at it, manage its keys and replicas.

mod identity;
mod info;
mod init;
mod key;
mod lock;
mod replica;
mod status;
mod takeover;

use clap::{Args, Subcommand};

pub(crate) use lock::tell as tell_locks;

use super::context::Context;
use super::failure::{Exit, Result};

/// Make a vault, look at it, manage its keys and replicas
#[derive(Debug, Args)]
pub(crate) struct VaultArgs {
    #[command(subcommand)]
    command: VaultCommand,
}

#[derive(Debug, Subcommand)]
enum VaultCommand {
    Init(init::InitArgs),
    Info(info::InfoArgs),
    Status(status::StatusArgs),
    Key(key::KeyArgs),
    Lock(lock::LockArgs),
    Replica(replica::ReplicaArgs),
    Takeover(takeover::TakeoverArgs),
}

pub(crate) async fn run(ctx: &Context, args: VaultArgs) -> Result<Exit> {
    match args.command {
        VaultCommand::Init(args) => init::run(ctx, args).await,
        VaultCommand::Info(args) => info::run(ctx, args).await,
        VaultCommand::Status(args) => status::run(ctx, args).await,
        VaultCommand::Key(args) => key::run(ctx, args).await,
        VaultCommand::Lock(args) => lock::run(ctx, args).await,
        VaultCommand::Replica(args) => replica::run(ctx, args).await,
        VaultCommand::Takeover(args) => takeover::run(ctx, args).await,
    }
}
