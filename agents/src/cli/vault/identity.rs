//! `shudao vault key identity`: a key pair of a person or a safe, outside any vault.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use shudao_vault::keys::recipient;
use shudao_vault::suite::generate_read_pair;
use zeroize::Zeroizing;

use crate::cli::context::Context;
use crate::cli::failure::{Exit, Failure, Result};
use crate::cli::messages::{Hint, Notice, Problem};
use crate::cli::new_file::NewFile;
use crate::cli::path::RawPath;
use crate::cli::report::Totals;

/// Make a key pair to be given as --recipient and --identity; needs no vault.
///
/// The secret half goes to FILE, readable by its owner only; the public half to FILE.pub and to stdout. Whoever holds
/// the secret half opens every vault to which a key was added for the public one.
#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Write the secret half to this new file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What the summary says.
#[derive(Serialize)]
struct Made {
    identity: String,
    public: String,
    recipient: String,
}

pub(crate) fn run(ctx: &Context, args: &IdentityArgs) -> Result<Exit> {
    let mut name = OsString::from(args.file.as_os_str());
    name.push(".pub");
    let public_path = PathBuf::from(name);
    let (public, secret) = generate_read_pair();
    let line = recipient::recipient_line(&public);
    let identity = Zeroizing::new(format!("{}\n", *Zeroizing::new(recipient::identity_line(&secret))));
    // Both places are taken before either is written, so that no half of a pair is left alone.
    let create =
        |path: &Path, mode| NewFile::create(path, mode).map_err(|error| failed(path, Exit::Usage, &error));
    let (mut secret_file, mut public_file) = (create(&args.file, 0o600)?, create(&public_path, 0o644)?);
    let write = |file: &mut NewFile, text: &str| {
        file.write(text.as_bytes()).map_err(|error| failed(file.path(), Exit::Failed, &error))
    };
    write(&mut secret_file, &identity)?;
    write(&mut public_file, &format!("{line}\n"))?;
    secret_file.keep();
    public_file.keep();
    let shown = |path: &Path| RawPath::from(path).to_string();
    let (secret, public) = (shown(&args.file), shown(&public_path));
    ctx.output.notice(&Notice::IdentityWritten { secret: secret.clone(), public: public.clone() });
    ctx.output.line(&line)?;
    ctx.summary(&Totals::default(), &Made { identity: secret, public, recipient: line })?;
    Ok(Exit::Done)
}

fn failed(path: &Path, exit: Exit, error: &std::io::Error) -> Failure {
    let problem = Problem::WriteIdentity { path: RawPath::from(path).to_string() };
    Failure::new(exit, problem, Hint::IdentityNewFile {}).because(error)
}
