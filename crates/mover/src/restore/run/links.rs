//! Hard links: when to make them, and what becomes of a name whose group's first name is not there.
//!
//! ```text
//! first name ── not wanted, or not restored ──▶ the next wanted member is a file of its own: the group's alias
//!     │                                            ▲                │
//!     └──────── written ──▶ link the others to it  │                └─ written ──▶ link the others to it
//!                                 └─ does not hold what it must ─┘ (an orphan)
//! ```
//!
//! Every member knows the whole file, so no member is lost because another one is.

use std::sync::atomic::Ordering;

use shudao_vault::entry::{Entry, TreePath};

use super::super::RestoreError;
use super::super::batch::{Link, make_link};
use super::super::compare::Existing;
use super::super::target::Place;
use super::Run;

impl Run<'_> {
    /// The path to link to, if the entry is a later member of a group of which another member is restored too.
    pub(super) fn first_name(&mut self, entry: &Entry) -> Option<TreePath> {
        let first = entry.portable.first_link.as_ref()?;
        if let Some(alias) = self.aliases.get(first) {
            return Some(alias.clone());
        }
        if self.options.filter.wants(first, false) && !self.failed.contains(first) {
            return Some(first.clone());
        }
        self.aliases.insert(first.clone(), entry.path().clone());
        None
    }

    pub(super) fn plan_link(
        &mut self,
        entry: Entry,
        place: Place,
        found: Existing,
        first_path: TreePath,
    ) -> Result<(), RestoreError> {
        match self.target.place(&first_path) {
            Ok(first) => self.batch.link(Link { entry, place, first, first_path, found }),
            // Its directory was not made, so it will not be written either.
            Err(_) => self.orphans.push(Link { entry, first: place.clone(), place, first_path, found }),
        }
        self.seal_if_full()
    }

    /// Makes the links of a batch whose files are written.
    pub(super) fn make_links(&mut self, links: Vec<Link>) -> Result<(), RestoreError> {
        for link in links {
            let made = if self.failed.contains(&link.first_path) {
                Ok(false)
            } else {
                make_link(&link, self.options.in_place)
            };
            match made {
                Ok(true) => {
                    self.summary.files += 1;
                    self.progress.files.fetch_add(1, Ordering::Relaxed);
                }
                Ok(false) => self.orphans.push(link),
                Err(cause) => {
                    self.check_full(&cause)?;
                    self.lost(link.entry.path(), &format!("make a hard link: {cause}"));
                }
            }
        }
        Ok(())
    }

    /// Plans orphans again: the first of a group as a file of its own, the others as links to it.
    pub(super) fn plan_orphans(&mut self) -> Result<(), RestoreError> {
        for Link { entry, place, first_path, found, .. } in std::mem::take(&mut self.orphans) {
            let Some(first) = &entry.portable.first_link else { continue };
            match self.aliases.get(first) {
                Some(alias) if *alias != first_path => {
                    let alias = alias.clone();
                    self.plan_link(entry, place, found, alias)?;
                }
                Some(_) | None => {
                    self.aliases.insert(first.clone(), entry.path().clone());
                    self.plan_whole(entry, place, found)?;
                }
            }
        }
        Ok(())
    }
}
