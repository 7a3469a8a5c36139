//! The `shudao` command: what a person types, what a script reads back.
//!
//! The environment is read here, once; everything below takes it as an argument. The engines live in the other
//! crates and never print, prompt or read the environment.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let environment = cli::environment::Environment::read();
    cli::start(environment)
}
