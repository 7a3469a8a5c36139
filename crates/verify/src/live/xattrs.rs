//! Extended attributes, those that an entry carries.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use shudao_vault::entry::{XATTR_INLINE_BYTES_MAX, Xattr, XattrValue};
use shudao_vault::id::Digest;

use super::NotRead;
use super::node::{Facts, Follow, refused};

/// The kernel lets neither a list of names nor a value be longer.
const XATTR_BYTES_MAX: usize = 64 * 1024;
/// An entry is at most this long, so its attributes are.
const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// Whose attributes to read.
pub(super) enum XattrsOf<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A name in an open directory. Reached by `/proc`, since the kernel's own call for this is too new,
    /// and a whole path might be too long.
    Name(BorrowedFd<'a>, &'a CStr, Follow),
}

/// The attributes of `user.*`, `system.posix_acl_*` and `security.capability`, sorted by name. None where the file
/// system has no attributes.
pub(super) fn read_xattrs(of: &XattrsOf<'_>) -> Result<Vec<Xattr>, NotRead> {
    match of.list_length() {
        Ok(0) | Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(errno) => return Err(of.why(errno)),
    }
    let mut list = vec![0; XATTR_BYTES_MAX];
    let length = of.list(&mut list).map_err(|errno| of.why(errno))?;
    let mut names: Vec<&[u8]> =
        list[..length].split(|byte| *byte == 0).filter(|name| is_carried(name)).collect();
    names.sort_unstable();
    names.dedup();

    let mut xattrs = Vec::with_capacity(names.len());
    let mut inline_bytes = 0;
    let mut buffer = vec![0; if names.is_empty() { 0 } else { XATTR_BYTES_MAX }];
    for name in names {
        let length = of.value(name, &mut buffer).map_err(|errno| of.why(errno))?;
        let value = carried_value(&buffer[..length]);
        inline_bytes +=
            name.len() + if let XattrValue::Inline(bytes) = &value { bytes.len() } else { Digest::LEN };
        if inline_bytes > ENTRY_BYTES_MAX {
            return Err(NotRead::AttributesTooLarge);
        }
        xattrs.push(Xattr { name: name.to_vec(), value });
    }
    Ok(xattrs)
}

fn is_carried(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == b"security.capability"
}

fn carried_value(bytes: &[u8]) -> XattrValue {
    match u32::try_from(bytes.len()) {
        Ok(length) if bytes.len() > XATTR_INLINE_BYTES_MAX => {
            XattrValue::Chunk { digest: Digest::of(bytes), length }
        }
        Ok(_) | Err(_) => XattrValue::Inline(bytes.to_vec()),
    }
}

impl XattrsOf<'_> {
    fn list_length(&self) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => rustix::fs::flistxattr_query(file),
            Self::Name(directory, name, Follow::Never) => {
                rustix::fs::llistxattr_query(by_proc(*directory, name))
            }
            Self::Name(directory, name, Follow::Links) => {
                rustix::fs::listxattr_query(by_proc(*directory, name))
            }
        }
    }

    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => rustix::fs::flistxattr(file, buffer),
            Self::Name(directory, name, Follow::Never) => {
                rustix::fs::llistxattr(by_proc(*directory, name), buffer)
            }
            Self::Name(directory, name, Follow::Links) => {
                rustix::fs::listxattr(by_proc(*directory, name), buffer)
            }
        }
    }

    fn value(&self, attribute: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => rustix::fs::fgetxattr(file, attribute, buffer),
            Self::Name(directory, name, Follow::Never) => {
                rustix::fs::lgetxattr(by_proc(*directory, name), attribute, buffer)
            }
            Self::Name(directory, name, Follow::Links) => {
                rustix::fs::getxattr(by_proc(*directory, name), attribute, buffer)
            }
        }
    }

    fn why(&self, errno: Errno) -> NotRead {
        match (errno, self) {
            (Errno::NODATA, _) => NotRead::Changed,
            (Errno::RANGE | Errno::TOOBIG, _) => NotRead::AttributesTooLarge,
            (Errno::NOENT, Self::Name(directory, name, follow))
                if Facts::of_name(*directory, name, *follow).is_ok() =>
            {
                NotRead::Refused {
                    doing: "reach the extended attributes through /proc",
                    errno: errno.raw_os_error(),
                }
            }
            _ => refused("read the extended attributes")(errno),
        }
    }
}

fn by_proc(directory: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_portable_attributes_are_carried() {
        for (name, carried) in [
            ("user.note", true),
            ("system.posix_acl_access", true),
            ("system.posix_acl_default", true),
            ("security.capability", true),
            ("security.selinux", false),
            ("security.ima", false),
            ("trusted.overlay.opaque", false),
            ("system.nfs4_acl", false),
            ("", false),
        ] {
            assert_eq!(is_carried(name.as_bytes()), carried, "{name}");
        }
    }

    #[test]
    fn a_value_above_4_kib_is_carried_by_its_digest() {
        let value = vec![7; XATTR_INLINE_BYTES_MAX + 1];
        assert_eq!(carried_value(&value[1..]), XattrValue::Inline(value[1..].to_vec()));
        let length = XATTR_INLINE_BYTES_MAX as u32 + 1;
        assert_eq!(carried_value(&value), XattrValue::Chunk { digest: Digest::of(&value), length });
    }
}
