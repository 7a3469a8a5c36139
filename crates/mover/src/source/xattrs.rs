//! Extended attributes of one name, by a path that goes through an open directory.

use std::io;

use rustix::fs::{getxattr, lgetxattr, listxattr, llistxattr};
use rustix::io::Errno;

use super::found::FoundXattr;
use super::status::Follow;

/// The kernel's limit for a list of names and for a value.
const KERNEL_BYTES_MAX: usize = 64 << 10;

/// What most lists fit into; the kernel allocates as much as it is offered.
const USUAL_BYTES: usize = 1 << 10;

/// A name's attributes as far as they are kept.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    /// Sorted by name.
    pub(super) kept: Vec<FoundXattr>,
    /// How many there were of kinds that are not kept.
    pub(super) dropped: u32,
}

/// Whether attributes of this name belong to an entry.
fn is_kept(name: &[u8]) -> bool {
    let exact: [&[u8]; 3] = [b"system.posix_acl_access", b"system.posix_acl_default", b"security.capability"];
    name.starts_with(b"user.") || exact.contains(&name)
}

/// The attributes at `path`, or at what it leads to if it is a symbolic link to be followed.
pub(super) fn read(path: &[u8], follow: Follow) -> io::Result<Xattrs> {
    let mut found = Xattrs::default();
    for name in list(path, follow)?.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !is_kept(name) {
            found.dropped += 1;
            continue;
        }
        let value = fill(|buffer| match follow {
            Follow::Never => lgetxattr(path, name, buffer),
            Follow::Links => getxattr(path, name, buffer),
        });
        match value {
            Ok(value) => found.kept.push(FoundXattr { name: name.to_vec(), value }),
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.kept.sort_by(|a, b| a.name.cmp(&b.name));
    found.kept.dedup_by(|a, b| a.name == b.name);
    Ok(found)
}

/// Names, each ended by a zero byte.
fn list(path: &[u8], follow: Follow) -> io::Result<Vec<u8>> {
    let names = fill(|buffer| match follow {
        Follow::Never => llistxattr(path, buffer),
        Follow::Links => listxattr(path, buffer),
    });
    match names {
        // A file system without attributes has none.
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        names => Ok(names?),
    }
}

/// What `call` puts into a buffer of the usual size or, if that is too small, of the largest.
fn fill(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut usual = [0; USUAL_BYTES];
    match call(&mut usual) {
        Ok(length) => Ok(usual[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut largest = vec![0; KERNEL_BYTES_MAX];
            let length = call(&mut largest)?;
            Ok(largest[..length].to_vec())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attributes_that_mean_the_same_elsewhere_are_kept() {
        for (name, kept) in [
            ("user.origin", true),
            ("user.", true),
            ("system.posix_acl_access", true),
            ("system.posix_acl_default", true),
            ("security.capability", true),
            ("security.selinux", false),
            ("system.nfs4_acl", false),
            ("trusted.overlay.opaque", false),
            ("users.x", false),
        ] {
            assert_eq!(is_kept(name.as_bytes()), kept, "{name}");
        }
    }
}
