//! Small file systems that fill up.

use std::path::{Path, PathBuf};

use crate::tool::{finish, need_root, run, tool};

/// A tmpfs of a given size, mounted until dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts `bytes` of room at `path`, which is made.
    ///
    /// # Panics
    /// Without root, or if mounting fails.
    pub fn mount(path: &Path, bytes: u64) -> Self {
        need_root("mounting a small disk");
        std::fs::create_dir_all(path).expect("create a mount point");
        let options = format!("size={bytes},mode=0755");
        run(
            "mount",
            [
                "-t".as_ref(),
                "tmpfs".as_ref(),
                "-o".as_ref(),
                options.as_ref(),
                "shudao-test".as_ref(),
                path.as_os_str(),
            ],
        );
        Self(path.to_path_buf())
    }

    /// Makes room: the disk now has `bytes`.
    pub fn grow(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        run("mount", ["-o".as_ref(), options.as_ref(), self.0.as_os_str()]);
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that a process which a failed test left behind cannot keep the directory from being removed.
        let _ = finish(tool("umount").arg("--lazy").arg(&self.0));
    }
}

/// Another directory seen at a second place, until dropped: the start of a loop, or another mount.
#[derive(Debug)]
pub struct BindMount(PathBuf);

impl BindMount {
    /// Shows `from` at `at`, which is made.
    ///
    /// # Panics
    /// Without root, or if mounting fails.
    pub fn mount(from: &Path, at: &Path) -> Self {
        need_root("a bind mount");
        std::fs::create_dir_all(at).expect("create a mount point");
        run("mount", ["--bind".as_ref(), from.as_os_str(), at.as_os_str()]);
        Self(at.to_path_buf())
    }
}

impl Drop for BindMount {
    fn drop(&mut self) {
        let _ = finish(tool("umount").arg("--lazy").arg(&self.0));
    }
}
