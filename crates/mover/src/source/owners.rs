//! Names of users and groups, from the tables that every system has.
//!
//! Read once a scan. Accounts that live in a directory service have no line here; their entries carry the number
//! alone, which is what a restore goes by in any case.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: HashMap<u32, Arc<[u8]>>,
    groups: HashMap<u32, Arc<[u8]>>,
}

impl Owners {
    /// The tables of this system; a table that cannot be read is empty.
    pub(super) fn load() -> Self {
        let table = |path: &str| names_by_number(&std::fs::read(Path::new(path)).unwrap_or_default());
        Self { users: table("/etc/passwd"), groups: table("/etc/group") }
    }

    /// The user's name; empty if unknown.
    pub(super) fn user(&self, number: u32) -> Arc<[u8]> {
        self.users.get(&number).cloned().unwrap_or_default()
    }

    /// The group's name; empty if unknown.
    pub(super) fn group(&self, number: u32) -> Arc<[u8]> {
        self.groups.get(&number).cloned().unwrap_or_default()
    }
}

/// Lines `name:password:number:…`; of several names for a number the first counts, as the C library has it.
fn names_by_number(table: &[u8]) -> HashMap<u32, Arc<[u8]>> {
    let mut names = HashMap::new();
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else { continue };
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        if let (false, Some(number)) = (name.is_empty(), number) {
            names.entry(number).or_insert_with(|| Arc::from(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts_and_broken_lines_do_not() {
        let names = names_by_number(
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:\n\n:x:5:\nx:y\nbad:x:many:\n\xff:x:7:",
        );
        assert_eq!(names.len(), 2);
        assert_eq!(&*names[&0], b"root");
        assert_eq!(&*names[&7], b"\xff");
    }
}
