//! `shudao vault init`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use shudao_vault::retention::Policy;

use crate::cli::context::Context;
use crate::cli::engine;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::new_file::NewFile;
use crate::cli::path::{RawPath, escaped};
use crate::cli::report::{ReplicaState, Totals};
use crate::cli::request::{InitRequest, OwnerSecret};
use crate::cli::{resolve, secret};

/// Make a vault.
///
/// The password is taken as for opening one; on a terminal, an empty answer has one generated. With --recipient there is
/// none.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where, for each replica: a path, file:// or s3://bucket/prefix?endpoint=..., or a name from the config
    #[arg(required = true, value_name = "REPLICA")]
    replicas: Vec<String>,
    /// Write a second way in to this new file; keep it apart from the vault
    #[arg(long, value_name = "FILE", conflicts_with = "no_recovery_kit")]
    recovery_kit: Option<PathBuf>,
    /// Go without a second way in: whoever loses the password or the identity loses the vault
    #[arg(long)]
    no_recovery_kit: bool,
    /// Open the owner's key with the secret half of this public key file instead of a password
    #[arg(long, value_name = "FILE")]
    recipient: Option<PathBuf>,
    /// Let writers deduplicate against each other's packs: saves space, but one lying writer can then spoil others'
    /// snapshots
    #[arg(long)]
    trust_writers: bool,
    /// What keepers may forget: all that these rules do not keep, such as "keep-daily 7 keep-within 90d utc-offset +08:00".
    /// Without it only the owner forgets
    #[arg(long, value_name = "RULES")]
    retention: Option<Policy>,
}

pub(crate) async fn run(ctx: &Context, args: InitArgs) -> Result<Exit> {
    if args.recovery_kit.is_none() && !args.no_recovery_kit {
        return Err(Failure::usage(Problem::NoRecoveryKit {}, Hint::GiveRecoveryKit {}));
    }
    let vault = ctx.named_vault(&args.replicas).map_err(|failure| match failure.problem() {
        Problem::UnknownVault { .. } | Problem::UnknownVaultNoConfig { .. } => {
            failure.with_hint(Hint::NameNewVault {})
        }
        _ => failure,
    })?;
    let recipient = args.recipient.as_deref().map(secret::read_file).transpose()?;
    // Made before the vault, so that no vault stands whose kit has no place to go.
    let kit = args.recovery_kit.as_deref().map(create_kit).transpose()?;
    let mut generated = None;
    let owner = match recipient {
        Some(public) => OwnerSecret::Recipient(public.as_bytes().to_vec()),
        None => {
            let new = ctx.new_password(&resolve::password(&ctx.environment, &vault.config))?;
            generated = new.generated.then(|| new.password.as_str().to_owned()).map(zeroize::Zeroizing::new);
            OwnerSecret::Password(new.password)
        }
    };
    if args.trust_writers {
        ctx.output.warning(&Notice::WritersTrusted {});
    }
    let request = InitRequest {
        replicas: vault.replicas.clone(),
        owner,
        recovery_kit: kit.is_some(),
        trust_writers: args.trust_writers,
        retention: args.retention,
        state_dir: resolve::state_dir(&ctx.environment)?,
        cloud: ctx.environment.with_prefix("AWS_"),
    };
    let report = engine::init(ctx, request).await.map_err(|failure| match failure.exit() {
        Exit::Conflict => failure.with_hint(Hint::UseOrMoveVault {}),
        _ => failure,
    })?;
    if let Some(password) = generated {
        ctx.output.secret(&Notice::GeneratedPassword { password: password.to_string() });
    }
    if let (Some(mut kit), Some(text)) = (kit, &report.recovery_kit) {
        let path = RawPath::from(kit.path()).to_string();
        kit.write(text.as_bytes()).map_err(|error| kit_failed(kit.path(), Exit::Failed, &error))?;
        kit.keep();
        ctx.output.notice(&Notice::RecoveryKitWritten { path });
        if std::io::stderr().is_terminal() {
            ctx.output.notice(&Notice::Plain { text: text.to_string() });
        }
    }
    let address = escaped(&vault.replicas.join(", "));
    ctx.output.say(&Notice::VaultMade { vault: report.vault.clone(), address })?;
    let made = |address: &String| ReplicaState {
        address: address.clone(),
        name: address.clone(),
        committed: true,
        objects_behind: 0,
    };
    let replicas = vault.replicas.iter().map(made).collect();
    ctx.summary(&Totals { replicas, ..Totals::default() }, &report)?;
    Ok(Exit::Done)
}

/// The recovery kit's file, readable by its owner only.
fn create_kit(path: &Path) -> Result<NewFile> {
    NewFile::create(path, 0o600).map_err(|error| kit_failed(path, Exit::Usage, &error))
}

fn kit_failed(path: &Path, exit: Exit, error: &std::io::Error) -> Failure {
    let problem = Problem::WriteRecoveryKit { path: RawPath::from(path).to_string() };
    Failure::new(exit, problem, Hint::RecoveryKitNewFile {}).because(error)
}
