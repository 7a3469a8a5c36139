//! The walk: every path below the start, in path order, opened step by step so that no path is too long.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use shudao_vault::entry::{Node, Portable, TreePath};

use super::names::Names;
use super::node::{Facts, Inode, Leaf, refused};
use super::roots::{Branches, Named, Rules, Start};
use super::xattrs::{XattrsOf, read_xattrs};
use super::{Live, LiveError, NotRead, Skipped};

/// How many directories on the way to the current one stay open, besides the root.
const OPEN_DIRECTORIES_MAX: usize = 64;

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
    /// `None` while too many deeper ones are open. The root stays open.
    open: Option<Arc<OwnedFd>>,
    names: Names,
    extent: Extent,
}

/// How much of a directory belongs to the tree.
enum Extent {
    /// All, on the file system with this device number if the rules say so.
    All { device: u64 },
    /// Only what leads to roots.
    Above(Branches),
}

/// A directory about to be entered.
struct Entering<'a> {
    directory: BorrowedFd<'a>,
    name: CString,
    path: TreePath,
    extent: Extent,
}

impl Walk {
    pub(super) fn new(start: Start, rules: Rules) -> Result<Self, LiveError> {
        let Start { path, branches } = start;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|errno| LiveError::OpenRoot { path: path.clone(), cause: errno.into() })?;
        let mut walk = Self { rules, frames: Vec::new(), path: Vec::new(), queue: VecDeque::new() };
        walk.enter_root(open, branches).map_err(|why| LiveError::ReadRoot { path: path, why })?;
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

    fn enter_root(&mut self, open: OwnedFd, branches: Option<Branches>) -> Result<(), NotRead> {
        let device = Facts::of_open(open.as_fd())?.inode.device;
        let extent = branches.map_or(Extent::All { device }, Extent::Above);
        let (portable, frame) = read_directory(open, TreePath::root(), extent)?;
        self.queue.push_back(Found::Ready(Live::Entry(portable)));
        self.frames.push(frame);
        Ok(())
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
        let directory = self.open_directory()?;
        let facts = Facts::of_name(directory.as_fd(), &name)?;
        let frame = self.frames.last_mut().expect("a name is visited in some directory");
        let extent = match &mut frame.extent {
            Extent::All { device } => {
                let device = *device;
                return self.visit_inside(Leaf { directory, name, path: path.clone(), facts }, device);
            }
            Extent::Above(branches) => match branches.remove(&name) {
                Some(Named::Above(branches)) => Extent::Above(branches),
                Some(Named::Root) | None => Extent::All { device: facts.inode.device },
            },
        };
        if facts.kind == FileType::Directory {
            return self.enter(Entering { directory: directory.as_fd(), name, path: path.clone(), extent });
        }
        self.queue_leaf(Leaf { directory, name, path: path.clone(), facts });
        Ok(())
    }

    /// Queues or enters a path inside a root, to which the rules apply.
    fn visit_inside(&mut self, leaf: Leaf, device: u64) -> Result<(), NotRead> {
        let is_directory = leaf.facts.kind == FileType::Directory;
        if self.rules.is_excluded(&leaf.path, is_directory) {
            self.skip(leaf.path, Skipped::Excluded);
        } else if self.rules.one_file_system && leaf.facts.inode.device != device {
            self.skip_contents(leaf, Skipped::OtherFileSystem);
        } else if !is_directory {
            self.queue_leaf(leaf);
        } else if self.is_being_walked(leaf.facts.inode) {
            self.skip_contents(leaf, Skipped::Loop);
        } else {
            let Leaf { directory, name, path, facts: _ } = leaf;
            let extent = Extent::All { device };
            self.enter(Entering { directory: directory.as_fd(), name, path, extent })?;
        }
        Ok(())
    }

    /// Whether all of this directory is being read already, further up.
    fn is_being_walked(&self, inode: Inode) -> bool {
        self.frames.iter().any(|frame| frame.inode == inode && matches!(frame.extent, Extent::All { .. }))
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

    fn enter(&mut self, entering: Entering<'_>) -> Result<(), NotRead> {
        let Entering { directory, name, path, extent } = entering;
        let open = open_step(directory, &name, &extent)?;
        let path_bytes = path.as_bytes().to_vec();
        let (portable, frame) = read_directory(open, path, extent)?;
        self.queue.push_back(Found::Ready(Live::Entry(portable)));
        self.frames.push(Frame { name, parent_path_bytes: self.path.len(), ..frame });
        self.path = path_bytes;
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
            let step = open_step(open.as_fd(), &frame.name, &frame.extent)?;
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

/// Opens the directory `name`. One of which not all is read need not be readable, only passable.
fn open_step(directory: BorrowedFd<'_>, name: &CStr, extent: &Extent) -> Result<OwnedFd, NotRead> {
    let access = match extent {
        Extent::All { .. } => OFlags::RDONLY,
        Extent::Above(_) => OFlags::PATH,
    };
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => NotRead::Replaced,
        _ => refused("open the directory")(errno),
    })
}

/// The entry of an open directory, and the frame to walk it; the frame's name and place are the caller's to fill in.
fn read_directory(open: OwnedFd, path: TreePath, extent: Extent) -> Result<(Portable, Frame), NotRead> {
    let (names, xattrs) = match &extent {
        Extent::All { .. } => (Names::list(open.as_fd())?, read_xattrs(&XattrsOf::Open(open.as_fd()))?),
        Extent::Above(branches) => {
            (Names::of(branches.keys())?, read_xattrs(&XattrsOf::Name(open.as_fd(), c"."))?)
        }
    };
    let facts = Facts::of_open(open.as_fd())?;
    let portable = facts.portable(path, Node::Directory, xattrs);
    let open = Some(Arc::new(open));
    let frame =
        Frame { name: CString::default(), parent_path_bytes: 0, inode: facts.inode, open, names, extent };
    Ok((portable, frame))
}
