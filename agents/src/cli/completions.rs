//! `shudao completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::args::Cli;
use super::context::Context;
use super::failure::{Exit, Result};

/// Print the completion script of a shell
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(ctx: &Context, args: CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "shudao", &mut script);
    ctx.output.raw(&script)?;
    Ok(Exit::Done)
}
