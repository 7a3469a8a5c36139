//! The file system's own clock, and whether a change can still hide behind it.
//!
//! A file written twice within one tick of the clock has the same times after the second write. If the scan fell
//! between the two, size and times would call the file unchanged for ever. So a file may be reused unread only if it
//! had been left alone for a while when it was scanned, by the clock that stamped it.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};
use shudao_vault::entry::FileTime;

use super::status::Status;

/// A file system's time, and how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The file system itself stamped a file just now.
    Probed(FileTime),
    /// A local file system stamps by the kernel's coarse clock, and this is it.
    Local(FileTime),
    /// Another machine stamps, and its clock is unknown; this is ours.
    Remote(FileTime),
}

/// By how much a ctime must lie back, by a clock that stamps the file.
const QUIET_SECONDS: i64 = 2;

/// By how much it must lie back if the stamping clock is unknown.
const QUIET_REMOTE_SECONDS: i64 = 3600;

/// A reading is used this long; an older reading only errs towards "not settled".
const READING_LASTS: Duration = Duration::from_secs(1);

/// Whether a file with this ctime may be reused unread by the next scan: its ctime lies back so far that a later
/// change must show in it. A ctime in the future is not settled.
pub fn is_settled(ctime: FileTime, clock: Clock) -> bool {
    let (now, quiet) = match clock {
        Clock::Probed(now) | Clock::Local(now) => (now, QUIET_SECONDS),
        Clock::Remote(now) => (now, QUIET_REMOTE_SECONDS),
    };
    ctime <= FileTime { seconds: now.seconds.saturating_sub(quiet), nanos: now.nanos }
}

/// The clocks of the file systems that a scan meets, by device.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    ahead_seconds: i64,
    readings: HashMap<u64, (Instant, Clock)>,
}

impl Clock {
    fn ahead_by(self, seconds: i64) -> Self {
        let ahead = |now: FileTime| FileTime { seconds: now.seconds.saturating_add(seconds), ..now };
        match self {
            Self::Probed(now) => Self::Probed(ahead(now)),
            Self::Local(now) => Self::Local(ahead(now)),
            Self::Remote(now) => Self::Remote(ahead(now)),
        }
    }
}

impl Clocks {
    /// Clocks that are taken to be so far ahead.
    pub(super) fn ahead(seconds: i64) -> Self {
        Self { ahead_seconds: seconds, ..Self::default() }
    }

    /// The clock of the file system that holds `directory`, at most a second old.
    pub(super) fn read(&mut self, directory: impl AsFd, device: u64) -> Clock {
        let now = Instant::now();
        if let Some((read_at, clock)) = self.readings.get(&device)
            && now.duration_since(*read_at) < READING_LASTS
        {
            return *clock;
        }
        let clock = read(directory).ahead_by(self.ahead_seconds);
        self.readings.insert(device, (now, clock));
        clock
    }
}

fn read(directory: impl AsFd) -> Clock {
    // An unnamed file leaves no trace in the directory, not even in its times.
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let probe = rustix::fs::openat(directory.as_fd(), ".", flags, Mode::from_raw_mode(0o600));
    if let Ok(status) = probe.map_err(std::io::Error::from).and_then(Status::of_open) {
        return Clock::Probed(status.ctime);
    }
    let coarse = clock_gettime(ClockId::RealtimeCoarse);
    let now = FileTime { seconds: coarse.tv_sec, nanos: u32::try_from(coarse.tv_nsec).unwrap_or(0) };
    match rustix::fs::fstatfs(directory) {
        Ok(found) if !is_remote(found.f_type as u64 as u32) => Clock::Local(now),
        // What cannot say what it is may be anything.
        Ok(_) | Err(_) => Clock::Remote(now),
    }
}

/// Whether a file system of this magic number is stamped by another machine or an unknown program.
fn is_remote(magic: u32) -> bool {
    const REMOTE: [u32; 24] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB 2
        0x6573_5546, // FUSE
        0x00c3_6400, // Ceph
        0x0102_1997, // 9p
        0x0bd0_0bd0, // Lustre
        0x4750_4653, // GPFS
        0x5346_414f, // AFS
        0x6b41_4653, // AFS of the kernel
        0x7375_7245, // Coda
        0x564c,      // NCP
        0x7461_636f, // OCFS2
        0x0116_1970, // GFS2
        0x786f_4256, // VirtualBox shared folders
        0xbacb_acbc, // VMware shared folders
        0x2003_0528, // OrangeFS
        0x1983_0326, // BeeGFS
        0xaad7_aaea, // PanFS
        0xbeef_dead, // StorNext
        0x6163_6673, // ACFS
        0xa501_fcf5, // VxFS
        0x013111a8,  // IBRIX
    ];
    REMOTE.contains(&magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: u32) -> FileTime {
        FileTime { seconds, nanos }
    }

    #[test]
    fn settled_means_quiet_for_two_seconds_or_an_hour_where_the_clock_is_unknown() {
        let now = time(10_000, 500);
        for (ctime, by_own_clock, by_unknown_clock) in [
            (time(10_000, 500), false, false),
            (time(9_999, 0), false, false),
            (time(9_998, 501), false, false),
            (time(9_998, 500), true, false),
            (time(9_000, 0), true, false),
            (time(6_400, 501), true, false),
            (time(6_400, 500), true, true),
            (time(-5, 0), true, true),
            (time(10_001, 0), false, false),
            (time(i64::MAX, 0), false, false),
        ] {
            assert_eq!(is_settled(ctime, Clock::Probed(now)), by_own_clock, "{ctime:?}");
            assert_eq!(is_settled(ctime, Clock::Local(now)), by_own_clock, "{ctime:?}");
            assert_eq!(is_settled(ctime, Clock::Remote(now)), by_unknown_clock, "{ctime:?}");
        }
        assert!(!is_settled(time(0, 0), Clock::Local(time(i64::MIN, 0))));
    }

    #[test]
    fn a_probe_leaves_the_directory_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(directory.path()).unwrap();
        let before = Status::of_open(&handle).unwrap();
        let clock = read(&handle);
        assert_eq!(Status::of_open(&handle).unwrap(), before);
        let (Clock::Probed(now) | Clock::Local(now) | Clock::Remote(now)) = clock;
        assert!(now >= before.ctime);
    }

    #[test]
    fn where_no_probe_can_be_made_the_kind_of_file_system_decides() {
        // Nobody makes files in /proc, not even root.
        let proc = std::fs::File::open("/proc").unwrap();
        assert!(matches!(read(&proc), Clock::Local(_)));
        for (magic, remote) in [(0x6969, true), (0xff53_4d42, true), (0xef53, false), (0x5846_5342, false)] {
            assert_eq!(is_remote(magic), remote, "{magic:x}");
        }
    }
}
