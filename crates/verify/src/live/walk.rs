//! The walk: every path below the start, in path order, opened step by step so that no path is too long.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use shudao_vault::entry::{Node, TreePath};

use super::names::Names;
use super::node::{Facts, Follow, Inode, Leaf, mount_of, refused};
use super::roots::{Rules, Start, Wanted};
use super::xattrs::{XattrsOf, read_xattrs};
use super::{Live, LiveError, NotRead, Skipped};

/// How many directories on the way to the current one stay open, besides the root.
const OPEN_DIRECTORIES_MAX: usize = 64;
/// Longer paths would make neither entries nor bounded memory.
const PATH_BYTES_MAX: usize = 256 * 1024;

/// What the walk finds at a path.
pub(super) enum Found {
    /// Nothing is left to read.
    Ready(Live),
    /// A file, link, pipe or device, still to be read.
    Leaf(Leaf),
}

/// Depth first, siblings by their bytes: that is path order.
pub(super) struct Walk {
    rules: Rules,
    /// The directories from the root to the current one.
    frames: Vec<Frame>,
    /// The current directory's path.
    path: Vec<u8>,
    /// Found already, to be returned before the walk goes on.
    queue: VecDeque<Found>,
}

/// A directory that is being walked.
struct Frame {
    /// Its name in the frame above; unused for the root.
    name: CString,
    /// Length of the path of the frame above.
    parent_path_bytes: usize,
    inode: Inode,
    /// Its mount, if the rules ask for it and the system tells.
    mount: Option<u64>,
    follow: Follow,
    /// `None` while too many deeper ones are open. The root stays open.
    open: Option<Arc<OwnedFd>>,
    names: Names,
    wanted: Wanted,
}

impl Walk {
    pub(super) fn new(start: Start, rules: Rules) -> Result<Self, LiveError> {
        let Start { path, wanted } = start;
        let flags = access(&wanted) | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|errno| LiveError::OpenRoot { path: path.clone(), cause: errno.into() })?;
        let mut walk = Self { rules, frames: Vec::new(), path: Vec::new(), queue: VecDeque::new() };
        let root =
            Opened { open, name: CString::default(), path: TreePath::root(), follow: Follow::Never, wanted };
        walk.descend(root).map_err(|why| LiveError::ReadRoot { path, why })?;
        Ok(walk)
    }

    /// The next thing in path order.
    pub(super) fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.queue.pop_front() {
                return Some(found);
            }
            let frame = self.frames.last_mut()?;
            match frame.names.next() {
                Some(name) => self.visit(name),
                None => self.leave(),
            }
        }
    }

    fn leave(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.path.truncate(frame.parent_path_bytes);
        }
    }

    /// Queues what stands at `name` in the current directory; enters it if it is a directory.
    fn visit(&mut self, name: CString) {
        let path = self.path_of(&name);
        if let Err(why) = self.try_visit(name, &path) {
            self.queue.push_back(Found::Ready(Live::NotRead { path, why }));
        }
    }

    fn path_of(&self, name: &CStr) -> TreePath {
        let mut bytes = self.path.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.to_bytes());
        TreePath::new(bytes).expect("listed names are legal components")
    }

    fn try_visit(&mut self, name: CString, path: &TreePath) -> Result<(), NotRead> {
        if path.as_bytes().len() > PATH_BYTES_MAX {
            return Err(NotRead::PathTooLong);
        }
        let directory = self.open_directory()?;
        let frame = self.frames.last_mut().expect("a name is visited in some directory");
        let (named, inside_whole) = (frame.wanted.below.remove(&name), frame.wanted.whole);
        let follow = if named.is_some() { Follow::Links } else { Follow::Never };
        let facts = Facts::of_name(directory.as_fd(), &name, follow)?;
        let leaf = Leaf { directory, name, path: path.clone(), facts, follow };
        match named {
            None => self.visit_by_rule(leaf),
            Some(mut wanted) => {
                let is_directory = facts.kind == FileType::Directory;
                wanted.whole |= inside_whole && !self.rules.is_excluded(path, is_directory);
                self.visit_named(leaf, wanted)
            }
        }
    }

    /// A root, or what leads to one: no rule applies.
    fn visit_named(&mut self, leaf: Leaf, wanted: Wanted) -> Result<(), NotRead> {
        if leaf.facts.kind == FileType::Directory {
            return self.enter(leaf, wanted);
        }
        if !wanted.whole {
            return Err(NotRead::Refused { doing: "pass through", errno: Errno::NOTDIR.raw_os_error() });
        }
        self.queue_leaf(leaf);
        Ok(())
    }

    fn visit_by_rule(&mut self, leaf: Leaf) -> Result<(), NotRead> {
        let is_directory = leaf.facts.kind == FileType::Directory;
        if self.rules.is_excluded(&leaf.path, is_directory) {
            self.skip(leaf.path, Skipped::Excluded);
        } else if self.rules.one_file_system && self.is_across(&leaf) {
            self.skip_contents(leaf, Skipped::OtherFileSystem);
        } else if is_directory {
            return self.enter(leaf, Wanted::all());
        } else {
            self.queue_leaf(leaf);
        }
        Ok(())
    }

    /// Whether something is mounted at this path.
    ///
    /// A file may show another device than its directory without that: an overlay shows the device of a layer beneath.
    fn is_across(&self, leaf: &Leaf) -> bool {
        let Some(frame) = self.frames.last() else { return false };
        let mount = mount_of(leaf.directory.as_fd(), &leaf.name, leaf.follow);
        let other_mount = mount.zip(frame.mount).is_some_and(|(mount, above)| mount != above);
        let other_device = leaf.facts.inode.device != frame.inode.device;
        other_mount || (other_device && leaf.facts.kind == FileType::Directory)
    }

    /// Whether all of this directory is being read already, further up.
    fn is_being_walked(&self, inode: Inode) -> bool {
        self.frames.iter().any(|frame| frame.inode == inode && frame.wanted.whole)
    }

    fn queue_leaf(&mut self, leaf: Leaf) {
        match leaf.facts.kind {
            FileType::Socket => self.skip(leaf.path, Skipped::Socket),
            _ => self.queue.push_back(Found::Leaf(leaf)),
        }
    }

    /// A directory is an entry even where what it holds is none.
    fn skip_contents(&mut self, leaf: Leaf, why: Skipped) {
        let path = leaf.path.clone();
        if leaf.facts.kind == FileType::Directory {
            self.queue.push_back(Found::Leaf(leaf));
        }
        self.skip(path, why);
    }

    fn skip(&mut self, path: TreePath, why: Skipped) {
        self.queue.push_back(Found::Ready(Live::Skipped { path, why }));
    }

    fn enter(&mut self, leaf: Leaf, wanted: Wanted) -> Result<(), NotRead> {
        if wanted.whole && self.is_being_walked(leaf.facts.inode) {
            self.skip_contents(leaf, Skipped::Loop);
            return Ok(());
        }
        let open = open_step(leaf.directory.as_fd(), &leaf.name, access(&wanted) | leaf.follow.open_flags())?;
        let Leaf { name, path, follow, .. } = leaf;
        self.descend(Opened { open, name, path, follow, wanted })
    }

    /// Queues the entry of an open directory and goes on inside it. On an error nothing was queued.
    fn descend(&mut self, opened: Opened) -> Result<(), NotRead> {
        let Opened { open, name, path, follow, wanted } = opened;
        let mut names = if wanted.whole { Names::list(open.as_fd())? } else { Names::default() };
        names.add(wanted.below.keys())?;
        let xattrs = read_xattrs(&if wanted.whole {
            XattrsOf::Open(open.as_fd())
        } else {
            XattrsOf::Name(open.as_fd(), c".", Follow::Never)
        })?;
        let facts = Facts::of_open(open.as_fd())?;
        let mount =
            if self.rules.one_file_system { mount_of(open.as_fd(), c".", Follow::Never) } else { None };

        let parent_path_bytes = self.path.len();
        self.path = path.as_bytes().to_vec();
        let portable = facts.portable(path, Node::Directory, xattrs);
        self.queue.push_back(Found::Ready(Live::Entry(portable)));
        let (inode, open) = (facts.inode, Some(Arc::new(open)));
        self.frames.push(Frame { name, parent_path_bytes, inode, mount, follow, open, names, wanted });
        // The root, frame 0, stays open: it is where a way down can always be found again.
        let closed = self.frames.len().saturating_sub(OPEN_DIRECTORIES_MAX + 1);
        if closed > 0 {
            self.frames[closed].open = None;
        }
        Ok(())
    }

    /// The current directory. If it was closed meanwhile, it and those just above it are opened again from the nearest
    /// one that is open, and must still be the same.
    fn open_directory(&mut self) -> Result<Arc<OwnedFd>, NotRead> {
        let last = self.frames.len() - 1;
        let nearest = self.frames.iter().rposition(|frame| frame.open.is_some()).unwrap_or(0);
        let mut open = self.frames[nearest].open.clone().expect("the root stays open");
        for level in nearest + 1..=last {
            let frame = &mut self.frames[level];
            let step =
                open_step(open.as_fd(), &frame.name, access(&frame.wanted) | frame.follow.open_flags())?;
            if Facts::of_open(step.as_fd())?.inode != frame.inode {
                return Err(NotRead::Replaced);
            }
            open = Arc::new(step);
            if level + OPEN_DIRECTORIES_MAX > last {
                frame.open = Some(Arc::clone(&open));
            }
        }
        Ok(open)
    }
}

/// A directory about to be walked.
struct Opened {
    open: OwnedFd,
    name: CString,
    path: TreePath,
    follow: Follow,
    wanted: Wanted,
}

/// One of which not all is read need not be readable, only passable.
fn access(wanted: &Wanted) -> OFlags {
    if wanted.whole { OFlags::RDONLY } else { OFlags::PATH }
}

fn open_step(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, NotRead> {
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => NotRead::Replaced,
        _ => refused("open the directory")(errno),
    })
}
