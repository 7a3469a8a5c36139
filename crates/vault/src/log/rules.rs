//! Which rules are in force: all of them, always.
//!
//! That each rule is needed is shown by turning it off: tests build states without one and watch data being lost.

#[cfg(test)]
thread_local! {
    static IN_FORCE: std::cell::Cell<Rules> = const { std::cell::Cell::new(Rules::ALL) };
}

/// Rules of `docs/format/log.md` that a state and those who append to it obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// A sweep waits for the sessions that began before the condemn.
    pub(crate) sweep_waits: bool,
    /// A keep ends a condemn.
    pub(crate) keep_counts: bool,
    /// A forgotten snapshot never comes back.
    pub(crate) forget_is_final: bool,
    /// What a root needs is neither condemned nor swept.
    pub(crate) roots_count: bool,
    /// A pinned snapshot is a root.
    pub(crate) pins_count: bool,
    /// A commit looks at what was swept.
    pub(crate) commit_looks: bool,
    /// A swept object's key is never used again.
    pub(crate) keys_move: bool,
    /// Only keys that a sweep gave up are deleted.
    pub(crate) strays_are_logged: bool,
    /// Whoever lost the race for a number reads what stands there and decides again.
    pub(crate) losers_decide_again: bool,
}

impl Rules {
    /// The rules that new states obey: every one.
    #[cfg(not(test))]
    pub(crate) fn in_force() -> Self {
        Self::ALL
    }

    /// The rules that new states of this thread obey.
    #[cfg(test)]
    pub(crate) fn in_force() -> Self {
        IN_FORCE.get()
    }

    /// Changes the rules that new states of this thread obey.
    #[cfg(test)]
    pub(crate) fn set(self) {
        IN_FORCE.set(self);
    }

    /// Every rule.
    pub(crate) const ALL: Self = Self {
        sweep_waits: true,
        keep_counts: true,
        forget_is_final: true,
        roots_count: true,
        pins_count: true,
        commit_looks: true,
        keys_move: true,
        strays_are_logged: true,
        losers_decide_again: true,
    };
}
