//! One round over one data set.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use shudao_benches::data::{DataSet, Scale};
use shudao_benches::measure::{Call, Cost, run as measure, tree_bytes};

use crate::fresh::Fresh;
use crate::tool::{Place, Step, Tool};

/// How old a file's change must be for tools that look at times to believe it.
const SETTLE: Duration = Duration::from_secs(3);

/// One figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) set: DataSet,
    pub(crate) tool: Tool,
    pub(crate) step: Step,
    pub(crate) cost: Cost,
    /// Bytes that the step added to the repository, by their length.
    pub(crate) added: u64,
}

/// All figures, and a file that has them even if the run ends early.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) all: Vec<Figure>,
    file: File,
}

impl Figures {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self { all: Vec::new(), file })
    }

    fn add(&mut self, round: u32, figure: Figure) -> Result<()> {
        let Figure { set, tool, step, cost, added } = figure;
        eprintln!(
            "  {:<12} {:<10} {:8.2} s {:8.2} s of processors {:6.0} MiB {:9.1} MB added",
            tool.name(),
            step.name(),
            cost.wall,
            cost.cpu,
            cost.peak_mib,
            added as f64 / 1e6
        );
        let line = json!({
            "round": round, "data": set.name(), "tool": tool.name(), "step": step.name(),
            "wall_seconds": cost.wall, "cpu_seconds": cost.cpu, "peak_mib": cost.peak_mib, "bytes_added": added,
        });
        writeln!(self.file, "{line}")?;
        self.all.push(figure);
        Ok(())
    }
}

/// All steps of all tools, in turns.
pub(crate) fn run(
    set: DataSet,
    scale: Scale,
    round: u32,
    tools: &[(Tool, PathBuf)],
    place: &dyn Fn(&str) -> Place,
    figures: &mut Figures,
) -> Result<()> {
    let source = place("").source;
    clear(&source)?;
    fs::create_dir_all(&source)?;
    set.make(&source, scale).context("make the data")?;
    for (tool, program) in tools {
        let place = place(tool.name());
        clear(&place.room)?;
        fs::create_dir_all(&place.room)?;
        for call in tool.prepare(program, &place) {
            measure(&call)?;
        }
    }
    std::thread::sleep(SETTLE);
    for step in Step::ALL {
        if step == Step::Changed {
            set.change(&source, scale).context("change the data")?;
            std::thread::sleep(SETTLE);
        }
        // Nobody is always the first after a change.
        let mut order: Vec<_> = tools.iter().collect();
        order.rotate_left(round as usize % tools.len());
        for (tool, program) in order {
            let place = place(tool.name());
            if let Some(figure) = one(set, *tool, step, program, &place, round)? {
                figures.add(round, figure)?;
            }
        }
    }
    for (tool, _) in tools {
        clear(&place(tool.name()).room)?;
    }
    clear(&source)
}

fn one(
    set: DataSet,
    tool: Tool,
    step: Step,
    program: &Path,
    place: &Place,
    round: u32,
) -> Result<Option<Figure>> {
    let Some(call) = tool.step(step, program, place, round) else { return Ok(None) };
    let stored = || tree_bytes(&Tool::repository(place)).unwrap_or(0);
    let before = stored();
    let fresh = match step {
        Step::Restore => Some(Fresh::make(&Tool::target(place))?),
        _ => None,
    };
    let (mut cost, _) = measure(&call)?;
    if let Some(fresh) = fresh {
        // What is still only in memory is not restored.
        let started = Instant::now();
        rustix::fs::sync();
        cost.wall += started.elapsed().as_secs_f64();
        equal(&place.source, &fresh.root)
            .with_context(|| format!("{} restored something else", tool.name()))?;
    }
    Ok(Some(Figure { set, tool, step, cost, added: stored().saturating_sub(before) }))
}

/// Compares with a program that is none of those measured. Some restore the whole path below the target.
fn equal(source: &Path, target: &Path) -> Result<()> {
    let whole_path = target.join(source.strip_prefix("/").unwrap_or(source));
    let root = if whole_path.is_dir() { whole_path } else { target.to_owned() };
    measure(&Call::new("diff", target).args(["-r", "-q"]).arg(source).arg(root))?;
    Ok(())
}

pub(crate) fn clear(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}
