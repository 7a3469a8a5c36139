//! Writing back while writing: the disk works from early on, and the end of a restore does not wait for all of it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// So many bytes go to the disk together.
const WRITE_BACK_BYTES: u64 = 128 << 20;

/// Brings a file system's data to its disk, behind the back of whoever writes.
pub(super) struct WriteBack {
    /// Errors of writing back are told once to each open handle, so all go by this one.
    root: Arc<OwnedFd>,
    /// Bytes written since the last time.
    fresh: u64,
    working: Option<JoinHandle<io::Result<()>>>,
}

impl WriteBack {
    /// Of the file system that this handle is on.
    pub(super) fn of(root: Arc<OwnedFd>) -> Self {
        Self { root, fresh: 0, working: None }
    }

    /// Says that so many bytes were written. Does not wait.
    ///
    /// # Errors
    /// When what was written earlier could not be brought to the disk.
    pub(super) fn wrote(&mut self, bytes: u64) -> io::Result<()> {
        self.fresh += bytes;
        if self.fresh < WRITE_BACK_BYTES
            || self.working.as_ref().is_some_and(|working| !working.is_finished())
        {
            return Ok(());
        }
        self.wait()?;
        self.fresh = 0;
        let root = Arc::clone(&self.root);
        let thread = std::thread::Builder::new().name("write-back".to_owned());
        self.working = Some(thread.spawn(move || Ok(rustix::fs::syncfs(&*root)?))?);
        Ok(())
    }

    /// Waits until everything written is on the disk.
    ///
    /// # Errors
    /// When some of it could not be brought there.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.wait()?;
        Ok(rustix::fs::syncfs(&*self.root)?)
    }

    fn wait(&mut self) -> io::Result<()> {
        let Some(working) = self.working.take() else { return Ok(()) };
        working.join().unwrap_or_else(|_| Err(io::Error::other("writing back panicked")))
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        drop(self.wait());
    }
}
