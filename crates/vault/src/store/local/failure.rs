//! What an error of the file system means for the caller.

use std::io;

use rustix::io::Errno;

use crate::error::{Error, Kind};

/// The error of `verb` on `what`, with the kind that its number means.
pub(super) fn failed(verb: &str, what: &str, error: io::Error) -> Error {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let (kind, sentence) = meaning(errno);
    let message = match sentence {
        Some(sentence) => format!("{verb} {what}: {sentence}"),
        None => format!("{verb} {what}: {error}"),
    };
    Error::new(kind, message).because(error)
}

/// A directory that could not be synced: what was done in it may be lost with the next power cut, and asking again
/// proves nothing, because a kernel reports such an error once.
pub(super) fn unsynced(what: &str, error: io::Error) -> Error {
    Error::damaged(format!("sync the directory of {what}: the file system failed; check the disk"))
        .because(error)
}

fn meaning(errno: Option<Errno>) -> (Kind, Option<&'static str>) {
    match errno {
        Some(Errno::NOSPC) => (Kind::Full, Some("no space is left on the file system")),
        Some(Errno::DQUOT) => (Kind::Full, Some("the disk quota is used up")),
        Some(Errno::FBIG) => (Kind::Full, Some("the file size limit is reached")),
        Some(Errno::ACCESS | Errno::PERM) => (Kind::Input, Some("permission denied")),
        Some(Errno::ROFS) => (Kind::Input, Some("the file system is mounted read-only")),
        Some(Errno::NAMETOOLONG) => (Kind::Input, Some("the path is too long for the file system")),
        Some(Errno::NOENT | Errno::NOTDIR) => (Kind::Missing, Some("it is not there")),
        Some(Errno::ISDIR) => (Kind::Damaged, Some("a directory stands where an object should")),
        Some(Errno::LOOP) => (Kind::Damaged, Some("a symbolic link stands where an object should")),
        Some(Errno::NOSYS | Errno::OPNOTSUPP) => (Kind::Unsupported, Some("the file system cannot do this")),
        _ => (Kind::Unavailable, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_number_tells_the_caller_what_to_do() {
        let table = [
            (Errno::NOSPC, Kind::Full),
            (Errno::DQUOT, Kind::Full),
            (Errno::ACCESS, Kind::Input),
            (Errno::ROFS, Kind::Input),
            (Errno::NOENT, Kind::Missing),
            (Errno::LOOP, Kind::Damaged),
            (Errno::IO, Kind::Unavailable),
            (Errno::STALE, Kind::Unavailable),
            (Errno::MFILE, Kind::Unavailable),
        ];
        for (errno, kind) in table {
            let error = failed("read", "packs/ab", errno.into());
            assert_eq!(error.kind(), kind, "{errno}");
            assert!(error.to_string().starts_with("read packs/ab: "), "{error}");
        }
    }
}
