//! Medians and ratios as a table, and as a chart.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use shudao_benches::data::DataSet;
use shudao_benches::measure::median;

use crate::round::Figure;
use crate::tool::{Step, Tool};

/// Between these lines a page's tables are replaced.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// What is printed, and drawn.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    svg: String,
}

/// Medians of one step of one tool on one data set.
#[derive(Debug, Clone, Copy)]
struct Cell {
    wall: f64,
    cpu: f64,
    peak_mib: f64,
    added: f64,
}

fn cell(all: &[Figure], set: DataSet, tool: Tool, step: Step) -> Option<Cell> {
    let runs: Vec<&Figure> =
        all.iter().filter(|figure| (figure.set, figure.tool, figure.step) == (set, tool, step)).collect();
    let of = |pick: &dyn Fn(&Figure) -> f64| median(runs.iter().map(|figure| pick(figure)));
    (!runs.is_empty()).then(|| Cell {
        wall: of(&|figure| figure.cost.wall),
        cpu: of(&|figure| figure.cost.cpu),
        peak_mib: of(&|figure| figure.cost.peak_mib),
        added: of(&|figure| figure.added as f64),
    })
}

fn sets(all: &[Figure]) -> Vec<DataSet> {
    DataSet::ALL.into_iter().filter(|set| all.iter().any(|figure| figure.set == *set)).collect()
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The tools, and what each says of its version.
    pub(crate) versions: Vec<(Tool, String)>,
    pub(crate) rounds: u32,
    /// Of the full size of the data.
    pub(crate) percent: u64,
}

/// The page of all figures.
pub(crate) fn page(all: &[Figure], facts: &Facts) -> Page {
    let tools: Vec<Tool> = facts.versions.iter().map(|(tool, _)| *tool).collect();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let rounds = if facts.rounds == 1 {
        "One round".to_owned()
    } else {
        format!("Medians of {} rounds", facts.rounds)
    };
    let _ = writeln!(
        text,
        "{rounds} at {} % of the full size; seconds by the wall's clock; MB are 10⁶ bytes.\n",
        facts.percent
    );
    for (tool, version) in &facts.versions {
        let _ = writeln!(text, "- {}: {version}", tool.name());
    }
    for set in sets(all) {
        let _ = writeln!(text, "\n### {}\n", set.name());
        table(&mut text, all, set, &tools);
        ratios(&mut text, all, set, &tools);
    }
    Page { text, svg: chart(all, &tools) }
}

/// Shudao over others: below 1 it is faster, or smaller.
fn ratios(text: &mut String, all: &[Figure], set: DataSet, tools: &[Tool]) {
    let peers: Vec<Tool> = tools.iter().copied().filter(|tool| tool.is_peer()).collect();
    let least = |tools: &[Tool], step, pick: fn(Cell) -> f64| {
        let cells = tools.iter().filter_map(|tool| cell(all, set, *tool, step));
        cells.map(pick).min_by(f64::total_cmp)
    };
    let _ = writeln!(
        text,
        "\n| ratio | first | unchanged | changed | restore | check | stored | added by the change |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|");
    for own in [Tool::Shudao, Tool::ShudaoFast] {
        for (others, name) in
            [(&[Tool::Restic][..], "restic"), (&peers, "the best peer"), (&[Tool::Cp], "cp -a")]
        {
            let ratio = |step, pick: fn(Cell) -> f64| {
                let own = cell(all, set, own, step).map(pick)?;
                let other = least(others, step, pick).filter(|other| *other > 0.0)?;
                Some(own / other)
            };
            let wall = Step::ALL.map(|step| ratio(step, |cell| cell.wall));
            let added = [Step::First, Step::Changed].map(|step| ratio(step, |cell| cell.added));
            if wall.iter().all(Option::is_none) {
                continue;
            }
            let _ = write!(text, "| {} / {name} ", own.name());
            for figure in wall.into_iter().chain(added) {
                let _ = write!(text, "| {} ", figure.map_or(String::new(), |figure| format!("{figure:.2}")));
            }
            text.push_str("|\n");
        }
    }
}

fn table(text: &mut String, all: &[Figure], set: DataSet, tools: &[Tool]) {
    let _ = writeln!(
        text,
        "| tool | first | unchanged | changed | restore | check | CPU first | CPU restore | peak MiB | stored MB | added by the change MB |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|---|---|---|");
    for tool in tools {
        let of = |step| cell(all, set, *tool, step);
        let _ = write!(text, "| {} ", tool.name());
        for step in Step::ALL {
            let _ = write!(text, "| {} ", of(step).map_or(String::new(), |cell| format!("{:.2}", cell.wall)));
        }
        let figure =
            |step, pick: fn(Cell) -> f64| of(step).map_or(String::new(), |cell| format!("{:.1}", pick(cell)));
        let peak = Step::ALL.into_iter().filter_map(of).map(|cell| cell.peak_mib).fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "| {} | {} | {peak:.0} | {} | {} |",
            figure(Step::First, |cell| cell.cpu),
            figure(Step::Restore, |cell| cell.cpu),
            figure(Step::First, |cell| cell.added / 1e6),
            figure(Step::Changed, |cell| cell.added / 1e6),
        );
    }
}

/// Writes the tables into a page between its two marks, and the chart beside it.
pub(crate) fn put(path: &Path, page: &Page) -> Result<()> {
    let old = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let marks = old.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) = marks.with_context(|| format!("{} has no lines {BEGIN} and {END}", path.display()))?;
    let svg = path.with_extension("svg");
    fs::write(path, format!("{head}{BEGIN}\n\n{}{END}{tail}", page.text))?;
    fs::write(&svg, &page.svg).with_context(|| svg.display().to_string())
}

const COLOURS: [&str; 10] = [
    "#c0392b", "#e67e22", "#f1c40f", "#2c3e50", "#7f8c8d", "#27ae60", "#2980b9", "#8e44ad", "#95a5a6",
    "#bdc3c7",
];
const WIDTH: f64 = 1100.0;
const PANEL: f64 = 170.0;
const LEFT: f64 = 130.0;

/// A row of panels for each data set, a panel for each step, a bar for each tool: seconds, the longest fills its panel.
fn chart(all: &[Figure], tools: &[Tool]) -> String {
    let sets = sets(all);
    let height = 60.0 + PANEL * sets.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, tool) in tools.iter().enumerate() {
        let x = LEFT + 95.0 * at as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"22\">{}</text>",
            COLOURS[at % COLOURS.len()],
            x + 16.0,
            tool.name()
        );
    }
    for (row, set) in sets.iter().enumerate() {
        let top = 40.0 + PANEL * row as f64;
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{}</text>",
            top + PANEL / 2.0,
            set.name()
        );
        for (column, step) in Step::ALL.into_iter().enumerate() {
            let wide = (WIDTH - LEFT) / Step::ALL.len() as f64;
            let x = LEFT + wide * column as f64;
            panel(&mut svg, all, (*set, step), tools, (x, top, wide - 20.0));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(
    svg: &mut String,
    all: &[Figure],
    (set, step): (DataSet, Step),
    tools: &[Tool],
    (x, top, wide): (f64, f64, f64),
) {
    let cells: Vec<Option<Cell>> = tools.iter().map(|tool| cell(all, set, *tool, step)).collect();
    let most = cells.iter().flatten().map(|cell| cell.wall).fold(0.01, f64::max);
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\" fill=\"#555\">{} (s)</text>", top + 12.0, step.name());
    let thick = (PANEL - 40.0) / tools.len() as f64;
    for (at, cell) in cells.iter().enumerate() {
        let Some(cell) = cell else { continue };
        let (y, long) = (top + 18.0 + thick * at as f64, (wide - 45.0) * cell.wall / most);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{:.2}</text>",
            long.max(1.0),
            thick - 2.0,
            COLOURS[at % COLOURS.len()],
            x + long + 4.0,
            y + thick - 4.0,
            cell.wall
        );
    }
}
