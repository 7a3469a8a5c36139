//! `shudao man`

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::args::Cli;
use super::context::Context;
use super::failure::{Exit, Failure, Result};
use super::messages::{Hint, Notice, Problem};
use super::path::RawPath;

/// Print the manual page, or write the pages of all commands to a directory
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command to this directory
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

pub(crate) fn run(ctx: &Context, args: ManArgs) -> Result<Exit> {
    match args.to {
        Some(dir) => {
            clap_mangen::generate_to(Cli::command(), &dir).map_err(|error| failed(&dir, &error))?;
            ctx.output.notice(&Notice::ManualWritten { dir: RawPath::from(dir.as_path()).to_string() });
        }
        None => {
            let mut page = Vec::new();
            Man::new(Cli::command()).render(&mut page).expect("writing to memory does not fail");
            ctx.output.raw(&page)?;
        }
    }
    Ok(Exit::Done)
}

fn failed(dir: &Path, error: &std::io::Error) -> Failure {
    let problem = Problem::WriteManual { dir: RawPath::from(dir).to_string() };
    Failure::new(Exit::Failed, problem, Hint::CheckDirectory {}).because(error)
}
