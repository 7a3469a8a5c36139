//! A vault checked against itself: what is reported, and (below) the three depths at which objects are read.
//!
//! | module | needs | reads |
//! |---|---|---|
//! | [`names`] | no key | every needed object, held against its name |
//! | [`trees`] | a keeper's or owner's key | trees, extent lists, the presence of packs |
//! | [`packs`] | an owner's key | the chosen packs, every frame opened |
//! | [`mod@repair`] | no key | puts whole copies from sibling replicas in the place of damaged objects |

pub mod names;
pub mod packs;
mod progress;
pub mod repair;
pub mod trees;

pub use names::check_names;
pub use packs::{DataCheck, Selection, check_data};
pub use progress::CheckProgress;
pub use repair::{Repair, repair};
pub use trees::check_structure;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::sampling::{CleanSample, sentence};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Nothing is lost, but something is not as it should be.
    Warning,
    /// Data cannot be restored, or cannot be trusted, until this is mended.
    Damage,
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFinding {
    /// The object's name in the store.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// What that means to whoever needs the data.
    pub consequence: String,
    /// How bad it is.
    pub severity: Severity,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckCounts {
    /// Objects whose bytes were read and held against their names.
    pub objects_read: u64,
    /// Objects of which only the presence was checked.
    pub objects_present: u64,
    /// Bytes read from the store.
    pub bytes_read: u64,
    /// Frames opened and held against their digests.
    pub frames_read: u64,
    /// Snapshots that were checked.
    pub snapshots: u64,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CheckReport {
    /// What was found, in the order of being found.
    pub findings: Vec<CheckFinding>,
    /// How much was checked.
    pub counts: CheckCounts,
    /// What a sample proves, where only a sample was read.
    pub bound: Option<CleanSample>,
    /// Packs that there are.
    pub packs: u64,
}

impl CheckReport {
    /// Number of findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The worst severity found.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether anything found means damage.
    pub fn is_damaged(&self) -> bool {
        self.worst() == Some(Severity::Damage)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Damage => "damage",
        })
    }
}

impl fmt::Display for CheckFinding {
    /// One line: severity, object, problem, consequence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, problem, consequence, severity } = self;
        write!(f, "{severity}: {object}: {problem}; {consequence}")
    }
}

impl fmt::Display for CheckReport {
    /// The findings, worst first, then what was checked and the verdict.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        for finding in findings {
            writeln!(f, "{finding}")?;
        }
        let CheckCounts { objects_read, objects_present, bytes_read, frames_read, snapshots } = self.counts;
        writeln!(
            f,
            "checked: {snapshots} snapshots, {objects_present} objects present, {objects_read} objects read \
             ({bytes_read} bytes, {frames_read} frames)"
        )?;
        if let Some(bound) = &self.bound {
            writeln!(f, "sample: {}", sentence(bound, "packs"))?;
        }
        match (self.count(Severity::Damage), self.count(Severity::Warning)) {
            (0, 0) => write!(f, "no damage found"),
            (0, warnings) => write!(f, "no damage found, {warnings} warnings"),
            (damaged, _) => write!(f, "damage found: {damaged}"),
        }
    }
}

/// Names that must be present, each with what needs it ("snapshot 12ab34cd").
pub type NeededNames = BTreeMap<String, BTreeSet<String>>;

/// How many of those who need an object a finding names.
const NEEDERS_NAMED_MAX: usize = 5;

/// Holds the names that must be there against those that are.
///
/// Each absent name is damage, and says who needs it. Names that nobody needs are one note for all of them: collection
/// frees them, and until then they may belong to a run that is not committed yet.
pub fn compare_names(needed: &NeededNames, present: &BTreeSet<String>) -> Vec<CheckFinding> {
    let mut findings: Vec<_> = needed
        .iter()
        .filter(|(name, _)| !present.contains(*name))
        .map(|(name, needers)| CheckFinding {
            object: name.clone(),
            problem: "is missing".into(),
            consequence: format!("{} cannot be restored in full", list(needers)),
            severity: Severity::Damage,
        })
        .collect();
    let mut spare = present.iter().filter(|name| !needed.contains_key(*name));
    if let Some(first) = spare.next() {
        let others = spare.count();
        findings.push(CheckFinding {
            object: if others == 0 { first.clone() } else { format!("{first} and {others} more") },
            problem: "needed by nothing".into(),
            consequence: "a run under way may own them, otherwise the next collection frees them".into(),
            severity: Severity::Note,
        });
    }
    findings
}

fn list(needers: &BTreeSet<String>) -> String {
    let named: Vec<&str> = needers.iter().take(NEEDERS_NAMED_MAX).map(String::as_str).collect();
    match needers.len() - named.len() {
        _ if named.is_empty() => "what needs it".into(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(given: &[&str]) -> BTreeSet<String> {
        given.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_absent_name_says_who_needs_it() {
        let needed = NeededNames::from([
            ("packs/aa/1".into(), names(&["snapshot 1", "snapshot 2"])),
            ("packs/bb/2".into(), names(&["snapshot 1"])),
        ]);
        let findings = compare_names(&needed, &names(&["packs/bb/2", "packs/cc/3", "packs/dd/4"]));
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "damage: packs/aa/1: is missing; snapshot 1, snapshot 2 cannot be restored in full",
                "note: packs/cc/3 and 1 more: needed by nothing; a run under way may own them, otherwise the next collection \
                 frees them",
            ]
        );
        assert_eq!(compare_names(&needed, &names(&["packs/aa/1", "packs/bb/2"])), []);
    }

    #[test]
    fn many_who_need_it_are_counted() {
        let needers = (0..7).map(|number| format!("s{number}")).collect();
        assert_eq!(list(&needers), "s0, s1, s2, s3, s4 and 2 more");
    }

    #[test]
    fn a_report_shows_the_worst_first_and_a_verdict() {
        let finding = |severity, object: &str| CheckFinding {
            object: object.into(),
            problem: "p".into(),
            consequence: "c".into(),
            severity,
        };
        let mut report = CheckReport::default();
        assert!(report.to_string().ends_with("no damage found"));
        report.findings = vec![finding(Severity::Note, "x"), finding(Severity::Damage, "y")];
        report.bound = Some(CleanSample::of_unknown(6_905, crate::sampling::Confidence::DEFAULT));
        assert!(report.is_damaged());
        assert_eq!(
            report.to_string(),
            "damage: y: p; c\nnote: x: p; c\nchecked: 0 snapshots, 0 objects present, 0 objects read (0 bytes, 0 frames)\n\
             sample: 6,905 packs clean: under 0.1 % bad at 99.9 %\ndamage found: 1"
        );
    }
}
