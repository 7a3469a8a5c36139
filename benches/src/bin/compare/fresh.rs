//! A file system of its own for each restore.
//!
//! ext4 does not give out an inode again for a minute or more after its deletion, and looks over all of those for a free one
//! (`recently_deleted` in the kernel's `fs/ext4/ialloc.c`): where one tool's restore has just been removed, the next tool's
//! took up to five times as long.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use shudao_benches::measure::{Call, run};

use crate::round::clear;

/// Its size in bytes; only what is written takes room.
const BYTES: u64 = 12 << 30;

/// An empty directory to restore into, on an ext4 that was just made where that is allowed. Unmounted and removed when dropped.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) root: PathBuf,
    image: Option<PathBuf>,
}

impl Fresh {
    /// Makes it at `mount`.
    pub(crate) fn make(mount: &Path) -> Result<Self> {
        std::fs::create_dir_all(mount)?;
        if !Self::is_allowed() {
            return Ok(Self { root: mount.to_owned(), image: None });
        }
        let image = mount.with_extension("image");
        std::fs::File::create(&image)?.set_len(BYTES)?;
        let fresh = Self { root: mount.to_owned(), image: Some(image.clone()) };
        let call = |program| Call::new(program, Path::new("/"));
        run(&call("mkfs.ext4")
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&image))?;
        // Past the page cache of the file system below, or everything would be in memory twice.
        let device = run(&call("losetup").args(["--direct-io=on", "--find", "--show"]).arg(&image))?.1;
        let device = String::from_utf8(device).context("losetup")?.trim().to_owned();
        let mounted = run(&call("mount").arg(&device).arg(mount));
        // It goes when it is unmounted.
        run(&call("losetup").arg("--detach").arg(&device))?;
        mounted?;
        // Tools that want an empty directory get one.
        std::fs::remove_dir(mount.join("lost+found")).context("the new file system")?;
        Ok(fresh)
    }

    /// Whether file systems can be mounted here.
    pub(crate) fn is_allowed() -> bool {
        rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists()
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(image) = &self.image {
            drop(run(&Call::new("umount", Path::new("/")).arg(&self.root)));
            drop(std::fs::remove_file(image));
        }
        drop(clear(&self.root));
    }
}
