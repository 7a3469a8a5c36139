//! The rules of `docs/format/log.md` whose need is shown by turning them off: the one place that knows of that.
//!
//! In a program every rule holds, as a constant: what stands behind a question below is compiled away. A test may turn rules
//! off on its thread, for whoever folds, appends or collects there, and watches data being lost.

use crate::id::PackId;

/// A rule that states, and those who append to logs, obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A sweep waits for the sessions that began before the condemn.
    SweepsWait,
    /// A keep ends a condemn.
    KeepsCount,
    /// A forgotten snapshot never comes back.
    ForgetsAreFinal,
    /// What a root needs is neither condemned nor swept.
    RootsCount,
    /// A pinned snapshot is a root.
    PinsCount,
    /// A commit looks at what was swept, and whether everything is there.
    CommitsLook,
    /// A swept object's key is never used again.
    KeysMove,
    /// Only keys that a sweep gave up are deleted.
    StraysAreLogged,
    /// Each entry is decided on exactly the prefix that it follows.
    PrefixesDecide,
    /// What a compaction copied serves nobody before the compaction's commit.
    CopiesWait,
}

impl Rule {
    /// Whether the rule holds: always, but where a test has turned it off.
    pub(crate) fn holds(self) -> bool {
        !off::is_off(self)
    }
}

/// A compaction has copied these packs and not committed that yet: of no account, as long as [`Rule::CopiesWait`] holds.
pub(crate) fn copied<'a>(packs: impl Iterator<Item = &'a PackId>) {
    if !Rule::CopiesWait.holds() {
        off::remember(packs);
    }
}

/// Whether copies serve in place of this pack before a log says so: never, as long as [`Rule::CopiesWait`] holds.
pub(crate) fn is_copied(pack: &PackId) -> bool {
    !Rule::CopiesWait.holds() && off::remembers(pack)
}

#[cfg(test)]
pub(crate) use off::{forget_copied, turn_off};

#[cfg(not(test))]
mod off {
    use super::{PackId, Rule};

    pub(super) const fn is_off(_rule: Rule) -> bool {
        false
    }

    pub(super) fn remember<'a>(_packs: impl Iterator<Item = &'a PackId>) {}

    pub(super) const fn remembers(_pack: &PackId) -> bool {
        false
    }
}

#[cfg(test)]
mod off {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;

    use super::{PackId, Rule};

    thread_local! {
        static OFF: Cell<u16> = const { Cell::new(0) };
        static COPIED: RefCell<BTreeSet<PackId>> = RefCell::default();
    }

    /// Turns exactly these rules off on this thread.
    pub(crate) fn turn_off(rules: &[Rule]) {
        OFF.set(rules.iter().fold(0, |off, rule| off | 1 << *rule as u16));
    }

    pub(super) fn is_off(rule: Rule) -> bool {
        OFF.get() & (1 << rule as u16) != 0
    }

    pub(super) fn remember<'a>(packs: impl Iterator<Item = &'a PackId>) {
        COPIED.with_borrow_mut(|copied| copied.extend(packs));
    }

    pub(super) fn remembers(pack: &PackId) -> bool {
        COPIED.with_borrow(|copied| copied.contains(pack))
    }

    /// Another life of a vault begins on this thread.
    pub(crate) fn forget_copied() {
        COPIED.with_borrow_mut(BTreeSet::clear);
    }
}
