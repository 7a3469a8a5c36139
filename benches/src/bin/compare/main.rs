//! Shudao beside other programs: the same data, the same machine, in turns.
//!
//! Each round makes the data anew and then takes step by step, all tools in turn: first backup, the same again, the changed
//! generation, restore, check. Everything is on the disk before a step begins, and what a restore wrote counts only when it is
//! on the disk too. Tools that are not installed are left out by name. `benches/peers.sh` installs them.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod fresh;
mod report;
mod round;
mod tool;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use shudao_benches::data::{DataSet, Scale};

use tool::{Place, Tool};

/// Measures Shudao beside other programs.
#[derive(Debug, Parser)]
struct Options {
    /// The data sets: documents, tiny, image, dump-inserted, dump-updated [default: all]
    #[arg(long = "data", value_name = "NAME", value_parser = data_set)]
    data: Vec<DataSet>,
    /// The tools [default: all that are installed]
    #[arg(long = "tool", value_name = "NAME", value_parser = tool)]
    tools: Vec<Tool>,
    /// How often
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Size of the data
    #[arg(long, default_value_t = 100)]
    percent: u64,
    /// Where to work; 15 GiB are needed
    #[arg(long, default_value = "/var/tmp")]
    room: PathBuf,
    /// The shudao to measure
    #[arg(long, default_value = "target/release/shudao")]
    shudao: PathBuf,
    /// Where `benches/peers.sh` put the others
    #[arg(long, default_value = "target/peers")]
    programs: PathBuf,
    /// Every single figure, a JSON object a line
    #[arg(long, default_value = "target/compare.jsonl")]
    figures: PathBuf,
    /// Only make the data, in directories of this one, for a profile
    #[arg(long, value_name = "DIR")]
    make: Option<PathBuf>,
    /// Replace the tables and the chart of this page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

fn data_set(name: &str) -> Result<DataSet, String> {
    DataSet::ALL.into_iter().find(|set| set.name() == name).ok_or_else(|| "no such data set".to_owned())
}

fn tool(name: &str) -> Result<Tool, String> {
    Tool::ALL.into_iter().find(|tool| tool.name() == name).ok_or_else(|| "no such tool".to_owned())
}

/// The data of the first round.
fn make(set: DataSet, room: &Path, percent: u64) -> Result<()> {
    std::fs::create_dir_all(room).with_context(|| room.display().to_string())?;
    Ok(set.make(room, Scale { percent, seed: 1 })?)
}

/// The first line that a tool says of itself.
fn version(tool: Tool, program: &Path, place: &Place) -> Result<(Tool, String)> {
    std::fs::create_dir_all(&place.room)?;
    let (_, said) = shudao_benches::measure::run(&tool.version(program, place))?;
    Ok((tool, String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()))
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if options.data.is_empty() {
        options.data = DataSet::ALL.to_vec();
    }
    if let Some(room) = &options.make {
        return options.data.iter().try_for_each(|set| make(*set, &room.join(set.name()), options.percent));
    }
    options.shudao = std::fs::canonicalize(&options.shudao)
        .with_context(|| format!("{}: cargo build --release makes it", options.shudao.display()))?;
    options.programs = std::path::absolute(&options.programs)?;
    let room = tempfile::Builder::new().prefix("shudao-compare.").tempdir_in(&options.room)?;
    let place = |tool: &str| Place {
        source: room.path().join("source"),
        room: room.path().join(tool),
        programs: options.programs.clone(),
        shudao: options.shudao.clone(),
    };
    let wanted = if options.tools.is_empty() { Tool::ALL.to_vec() } else { options.tools.clone() };
    let mut tools = Vec::new();
    for tool in wanted {
        match tool.program(&place(tool.name())) {
            Some(program) => tools.push((tool, program)),
            None => eprintln!("{} is not here and is left out", tool.name()),
        }
    }
    if tools.is_empty() {
        bail!("there is nothing to measure");
    }
    let mut figures = round::Figures::create(&options.figures)?;
    for number in 1..=options.rounds {
        for set in &options.data {
            eprintln!("round {number} of {}: {}", options.rounds, set.name());
            let scale = Scale { percent: options.percent, seed: u64::from(number) };
            round::run(*set, scale, number, &tools, &place, &mut figures)?;
        }
    }
    let versions = tools.iter().map(|(tool, program)| version(*tool, program, &place(tool.name())));
    let facts = report::Facts {
        versions: versions.collect::<Result<_>>()?,
        rounds: options.rounds,
        percent: options.percent,
    };
    let page = report::page(&figures.all, &facts);
    println!("{}", page.text);
    if let Some(path) = &options.page {
        report::put(path, &page)?;
    }
    Ok(())
}
