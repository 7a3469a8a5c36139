//! The command line: parse, resolve, run. One file per command.
//!
//! | module | holds |
//! |---|---|
//! | [`args`], [`parse`] | what may be typed; parsing touches nothing |
//! | [`environment`], [`config`], [`resolve`] | raw settings, and one pure function that turns them into what a command needs |
//! | [`context`] | what every command gets |
//! | [`failure`], [`messages`] | how a run ends, and every sentence that people read |
//! | [`output`], [`show`], [`progress`], [`path`] | stdout, stderr, JSON, tables, bars |
//! | [`secret`], [`new_file`], [`stop`] | passwords; files for secrets; signals |
//! | [`engine`], [`request`], [`report`] | the seam to the other crates: what goes in, what comes out |

pub(crate) mod environment;

mod args;
mod backup;
mod cat;
mod check;
mod completions;
mod config;
mod context;
mod diff;
mod engine;
mod failure;
mod forget;
mod gc;
mod hold;
mod ls;
mod man;
mod messages;
mod new_file;
mod output;
mod parse;
mod path;
mod progress;
mod quickstart;
mod report;
mod request;
mod resolve;
mod restore;
mod secret;
mod show;
mod snapshots;
mod stop;
mod survey;
mod vault;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use context::Context;
use environment::Environment;
use failure::{Exit, Failure, Result};
use messages::{Hint, Lang, Problem};
use output::{Output, OutputOptions};

/// Parses the arguments, runs the command and returns its exit code.
pub(crate) fn start(environment: Environment) -> ExitCode {
    let cli = match parse_arguments(&environment) {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let lang = Lang::choose(cli.global.lang, &environment);
    let output = Output::new(OutputOptions {
        json: cli.global.json,
        quiet: cli.global.quiet,
        verbosity: cli.global.verbose,
        lang,
        json_on_stderr: matches!(cli.command, Command::Cat(_)),
    });
    let result = run_in_runtime(cli, environment, output.clone());
    let exit = match result.and_then(|exit| output.flush().map(|()| exit)) {
        Ok(exit) => exit,
        Err(failure) => {
            output.failure(&failure);
            // The failure itself is told; there is nothing more to say about its delivery.
            let _ = output.flush();
            failure.exit()
        }
    };
    exit.into()
}

/// The parsed arguments, or the exit code after clap has said what is wrong or shown its help.
fn parse_arguments(environment: &Environment) -> std::result::Result<Cli, Exit> {
    let command = Cli::command().term_width(environment.help_width());
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        // Nothing can be done about a closed stdout or stderr here, and the exit code says enough.
        let _ = error.print();
        if !error.use_stderr() {
            return Exit::Done;
        }
        if environment.asks_for_json() {
            output::print_usage_error(&error);
        }
        Exit::Usage
    })
}

fn run_in_runtime(cli: Cli, environment: Environment, output: Output) -> Result<Exit> {
    // A second installation is refused, which is fine: the provider is there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    raise_open_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(Exit::Failed, Problem::NoRuntime {}, Hint::FreeResources {}).because(&error)
    })?;
    let stop = stop::Stop::default();
    // From here on a signal is one that we hear.
    let signals = {
        let _runtime = runtime.enter();
        stop::Signals::listen()
    };
    if let Some(signals) = signals {
        runtime.spawn(stop::watch(signals, stop.clone(), output.clone(), cli.command.grace()));
    }
    let result = runtime.block_on(async {
        let context = Context::new(environment, &cli.global, output, stop.clone())?;
        run(&context, cli.command).await
    });
    // A task that hangs in a system call must not keep the process once the command has its result.
    runtime.shutdown_background();
    result
}

async fn run(ctx: &Context, command: Command) -> Result<Exit> {
    match command {
        Command::Vault(args) => vault::run(ctx, args).await,
        Command::Backup(args) => backup::run(ctx, args).await,
        Command::Snapshots(args) => snapshots::run(ctx, args).await,
        Command::Ls(args) => ls::run(ctx, args).await,
        Command::Diff(args) => diff::run(ctx, args).await,
        Command::Cat(args) => cat::run(ctx, args).await,
        Command::Restore(args) => restore::run(ctx, args).await,
        Command::Verify(args) => verify::run(ctx, args).await,
        Command::Check(args) => check::run(ctx, args).await,
        Command::Hold(args) => hold::run(ctx, args).await,
        Command::Forget(args) => forget::run(ctx, args).await,
        Command::Gc(args) => gc::run(ctx, args).await,
        Command::Survey(args) => survey::run(ctx, args).await,
        Command::Quickstart(args) => quickstart::run(ctx, args),
        Command::Completions(args) => completions::run(ctx, args),
        Command::Man(args) => man::run(ctx, args),
    }
}

/// Raises the soft limit of open files to the hard one; uploads, cache files and directories are held open together.
fn raise_open_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Without it a run works with fewer files open at once.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

#[cfg(test)]
mod tests;
