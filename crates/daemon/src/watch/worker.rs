//! The thread that watches one folder: reads the kernel's events, adds watches to what
//! appears, gives up the cold where watches are short.
//!
//! Set-up is done in small portions between which events are read, so that even a folder
//! of a million directories does not fill the kernel's queue meanwhile.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::dirty::{Dirty, parent, range_below};
use super::place::{self, Root};
use super::tree::{Follow, Heard, Placed, Tree, Wd};
use super::{Asked, Budget, Mode, NoWatch, RootLost, Shared};
use crate::host::thread;

/// What is heard of: everything that changes an entry, nothing that only reads it.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

/// Events that are read before directories are looked at again.
const MOST_EVENTS: usize = 100_000;
/// Directories that are looked at before events are read again.
const PORTION: usize = 256;
/// More directories than that are not left out one by one: then none is watched.
const MOST_LEFT: usize = 128;
/// Directories that could not be opened and are remembered for when they can be.
const MOST_DENIED: usize = 4096;
/// Fewer watches are not worth giving a directory up.
const LEAST_ROOM: usize = 8;
/// A directory in which nothing changed for so many seconds is cold.
const COLD: i64 = 3600;
/// Events lost twice within this time: they come faster than they can be noted.
const FLOOD: Duration = Duration::from_secs(60);
/// Pause before what could not be watched is tried again.
const AGAIN: Duration = Duration::from_secs(3600);

/// Something to look at, in the order in which it was heard of.
enum Todo {
    Look(Wd, Box<[u8]>),
    Verify(Wd),
}

pub(super) struct Worker {
    root: Root,
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    inotify: Option<OwnedFd>,
    tree: Tree,
    todo: VecDeque<Todo>,
    starting: bool,
    /// Directories that are not watched, with all that is below.
    left: BTreeSet<Vec<u8>>,
    why_left: NoWatch,
    denied: HashSet<Vec<u8>>,
    begun: Option<Instant>,
    again: Option<Instant>,
    /// Changes that were not handed over yet.
    fresh: Dirty,
    asked: Vec<Asked>,
}

impl Worker {
    pub(super) fn new(root: Root, budget: Arc<Budget>, shared: Arc<Shared>) -> Self {
        Self {
            root,
            shared,
            budget,
            inotify: None,
            tree: Tree::default(),
            todo: VecDeque::new(),
            starting: false,
            left: BTreeSet::new(),
            why_left: NoWatch::Watches,
            denied: HashSet::new(),
            begun: None,
            again: None,
            fresh: Dirty::default(),
            asked: Vec::new(),
        }
    }

    /// Until the handle is dropped.
    pub(super) fn run(mut self) {
        thread::step_back();
        self.begin();
        loop {
            self.sleep();
            if self.again.is_some_and(|again| Instant::now() >= again) {
                self.begin();
            }
            // Whoever asked by now gets what happened by now: events are read after that.
            self.asked.append(&mut self.shared.seen().asked);
            let all = self.hear_all();
            self.work();
            self.hand_over();
            if all {
                self.answer();
            }
            if !self.obey() {
                self.end();
                return;
            }
        }
    }

    fn sleep(&self) {
        let timeout = if self.todo.is_empty() {
            self.again.map(|again| again.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut waits = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        waits.extend(self.inotify.as_ref().map(|events| PollFd::new(events, PollFlags::IN)));
        // Interrupted or not: everything is looked at below.
        let _ = poll(&mut waits, timeout.as_ref());
        let mut woken = [0u8; 8];
        let _ = rustix::io::read(&self.shared.wake, &mut woken);
    }

    /// Begins to watch from the root.
    fn begin(&mut self) {
        self.end();
        self.begun = Some(Instant::now());
        self.again = None;
        let root = match self.root.open() {
            Ok(root) => root,
            Err(lost) => return self.lose(lost),
        };
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let events = match inotify::init(flags) {
            Ok(events) => events,
            Err(Errno::MFILE | Errno::NFILE) => return self.poll_all(NoWatch::Watchers),
            Err(error) => return self.poll_all(NoWatch::Refused(error.to_string())),
        };
        if !self.budget.take_one() {
            return self.poll_all(NoWatch::Watches);
        }
        match inotify::add_watch(&events, place::by_descriptor(&root), CHANGES) {
            Ok(wd) => self.tree.set_root(wd, place::changed(&root)),
            Err(error) => {
                self.budget.give_back(1);
                let why = match error {
                    Errno::NOSPC => NoWatch::Watches,
                    error => NoWatch::Refused(error.to_string()),
                };
                return self.poll_all(why);
            }
        }
        self.inotify = Some(events);
        self.starting = true;
        self.shared.set_mode(Mode::Starting);
        if let Some(wd) = self.tree.root() {
            self.list(&root, wd);
        }
    }

    /// Gives all watches back.
    fn end(&mut self) {
        self.inotify = None;
        self.budget.give_back(self.tree.len());
        self.tree = Tree::default();
        self.todo.clear();
        self.left.clear();
        self.denied.clear();
        self.starting = false;
    }

    fn poll_all(&mut self, why: NoWatch) {
        self.end();
        let pause = if why == NoWatch::Flood { FLOOD } else { AGAIN };
        self.again = Some(Instant::now() + pause);
        self.fresh.everything(Instant::now());
        self.shared.set_mode(Mode::Polling(why));
    }

    fn lose(&mut self, lost: RootLost) {
        self.end();
        self.fresh.everything(Instant::now());
        self.shared.set_mode(Mode::Lost(lost));
    }

    /// Reads the events that there are; whether these were all.
    fn hear_all(&mut self) -> bool {
        let Some(events) = self.inotify.take() else { return true };
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&events, &mut buffer);
        let mut follows = Vec::new();
        let now = (Instant::now(), seconds());
        let mut last: Option<(Wd, ReadFlags, Vec<u8>)> = None;
        let mut count = 0;
        let mut all = false;
        while count < MOST_EVENTS {
            let Ok(event) = reader.next() else {
                all = true;
                break;
            };
            count += 1;
            let name = event.file_name().map(std::ffi::CStr::to_bytes);
            let (wd, mask) = (event.wd(), event.events());
            let same = last.as_ref().is_some_and(|(last_wd, last_mask, last_name)| {
                (*last_wd, *last_mask) == (wd, mask) && name == Some(last_name.as_slice())
            });
            if same {
                continue;
            }
            let follow = self.tree.hear(Heard { wd, mask, name }, now, &mut self.fresh);
            follows.extend(follow);
            if mask.contains(ReadFlags::ATTRIB | ReadFlags::ISDIR) {
                follows.extend(self.perhaps_readable_now(wd, name));
            }
            last = name.map(|name| (wd, mask, name.to_vec()));
        }
        self.inotify = Some(events);
        for follow in follows {
            match follow {
                Follow::Look(wd, name) => self.todo.push_back(Todo::Look(wd, name)),
                Follow::Verify(wd) => self.todo.push_back(Todo::Verify(wd)),
                Follow::Forget(wd) => {
                    if self.tree.forget(wd) {
                        self.budget.give_back(1);
                    }
                }
                Follow::BeginAgain => {
                    self.after_overflow();
                    break;
                }
                Follow::RootLost => {
                    match self.root.check() {
                        Ok(()) => self.begin(),
                        Err(lost) => self.lose(lost),
                    }
                    break;
                }
            }
        }
        all
    }

    fn after_overflow(&mut self) {
        if self.begun.is_some_and(|begun| begun.elapsed() < FLOOD) {
            self.poll_all(NoWatch::Flood);
        } else {
            self.begin();
        }
    }

    fn perhaps_readable_now(&self, wd: Wd, name: Option<&[u8]>) -> Option<Follow> {
        let name = name?;
        let path = self.tree.path_in(wd, name)?;
        self.denied.contains(&path).then(|| Follow::Look(wd, name.into()))
    }

    /// Looks at some of what is to be looked at.
    fn work(&mut self) {
        if !self.todo.is_empty() {
            let root = match self.root.open() {
                Ok(root) => root,
                Err(lost) => return self.lose(lost),
            };
            let mut moved_away = HashSet::new();
            for _ in 0..PORTION {
                match self.todo.pop_front() {
                    Some(Todo::Look(parent, name)) => {
                        self.look(&root, parent, &name);
                    }
                    Some(Todo::Verify(wd)) => {
                        let there = self
                            .tree
                            .place_of(wd)
                            .and_then(|(parent, name)| self.look(&root, parent, &name));
                        if there != Some(wd) && self.tree.contains(wd) {
                            moved_away.insert(wd);
                        }
                    }
                    None => break,
                }
            }
            if !moved_away.is_empty() {
                self.give_up(&moved_away);
            }
        }
        if self.starting && self.todo.is_empty() {
            self.starting = false;
            // What happened before each watch was there is not known.
            self.fresh.everything(Instant::now());
            self.hand_over();
            self.show_mode();
        }
    }

    /// Watches the directory of this name; its watch.
    fn look(&mut self, root: &OwnedFd, parent: Wd, name: &[u8]) -> Option<Wd> {
        let path = self.tree.path_in(parent, name)?;
        if self.is_left(&path) {
            return None;
        }
        match place::open(root, &path) {
            Ok(directory) => {
                self.denied.remove(&path);
                self.watch(&directory, (parent, name), path)
            }
            Err(Errno::ACCESS | Errno::PERM) => {
                if self.denied.len() < MOST_DENIED {
                    self.denied.insert(path);
                }
                None
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
                self.leave(path, NoWatch::Refused("the host is short of descriptors".into()));
                None
            }
            // Gone again, or another file system's: no part of the folder.
            Err(_) => None,
        }
    }

    fn watch(
        &mut self,
        directory: &OwnedFd,
        (parent, name): (Wd, &[u8]),
        path: Vec<u8>,
    ) -> Option<Wd> {
        loop {
            let added = if self.budget.take_one() {
                let events = self.inotify.as_ref()?;
                inotify::add_watch(events, place::by_descriptor(directory), CHANGES)
            } else {
                Err(Errno::NOSPC)
            };
            match added {
                Ok(wd) => {
                    let placed = self.tree.place(wd, parent, name, place::changed(directory));
                    if placed == Placed::New {
                        // Watched first, listed then: nothing falls between.
                        self.list(directory, wd);
                    } else {
                        self.budget.give_back(1);
                    }
                    if placed != Placed::Same && !self.starting {
                        self.fresh.subtree(path, Instant::now());
                    }
                    return Some(wd);
                }
                Err(Errno::NOSPC) => {
                    if !self.make_room() {
                        self.leave(path, NoWatch::Watches);
                        return None;
                    }
                    if !self.tree.contains(parent) {
                        return None;
                    }
                }
                Err(_) => {
                    self.budget.give_back(1);
                    return None;
                }
            }
        }
    }

    fn list(&mut self, directory: &OwnedFd, wd: Wd) {
        let todo = &mut self.todo;
        place::subdirectories(directory, |name| todo.push_back(Todo::Look(wd, name.into())));
    }

    /// Gives up the watches of one large directory, a cold one if there is any.
    fn make_room(&mut self) -> bool {
        let mut need = (self.tree.len() / 8).max(LEAST_ROOM);
        let cold = seconds() - COLD;
        let found = loop {
            let found = self
                .tree
                .cold_directory(need, cold)
                .or_else(|| self.tree.cold_directory(need, i64::MAX));
            if found.is_some() || need == LEAST_ROOM {
                break found;
            }
            need = (need / 2).max(LEAST_ROOM);
        };
        let Some((wd, path)) = found.and_then(|wd| Some((wd, self.tree.path(wd)?))) else {
            return false;
        };
        self.give_up(&HashSet::from([wd]));
        self.leave(path, NoWatch::Watches);
        self.inotify.is_some()
    }

    fn give_up(&mut self, tops: &HashSet<Wd>) {
        for wd in self.tree.below(tops) {
            if let Some(events) = &self.inotify {
                // It may have ended by itself.
                let _ = inotify::remove_watch(events, wd);
            }
            if self.tree.forget(wd) {
                self.budget.give_back(1);
            }
        }
    }

    fn leave(&mut self, path: Vec<u8>, why: NoWatch) {
        let below: Vec<Vec<u8>> = range_below(&self.left, &path).cloned().collect();
        for path in below {
            self.left.remove(&path);
        }
        self.fresh.subtree(path.clone(), Instant::now());
        self.left.insert(path);
        self.why_left = why;
        self.again = Some(Instant::now() + AGAIN);
        if self.left.len() > MOST_LEFT {
            return self.poll_all(self.why_left.clone());
        }
        if !self.starting {
            self.show_mode();
        }
    }

    fn is_left(&self, path: &[u8]) -> bool {
        !self.left.is_empty()
            && std::iter::successors(Some(path), |path| parent(path))
                .any(|place| self.left.contains(place))
    }

    fn show_mode(&self) {
        self.shared.set_mode(if self.left.is_empty() {
            Mode::Watching
        } else {
            let left = self.left.iter().map(|path| place::shown(path)).collect();
            Mode::Partly { left, why: self.why_left.clone() }
        });
    }

    fn hand_over(&mut self) {
        self.shared.add(std::mem::take(&mut self.fresh));
    }

    /// Hands the changes to whoever asked for them.
    fn answer(&mut self) {
        for asked in std::mem::take(&mut self.asked) {
            let mut seen = self.shared.seen();
            let mut dirty = std::mem::take(&mut seen.dirty);
            let now = Instant::now();
            match &seen.mode {
                Mode::Watching => {}
                Mode::Partly { .. } if !asked.polled => {}
                Mode::Partly { .. } => {
                    for path in &self.left {
                        dirty.subtree(path.clone(), now);
                    }
                }
                Mode::Starting | Mode::Polling(_) | Mode::Lost(_) => dirty.everything(now),
            }
            if let Err(dirty) = asked.answer.send(dirty) {
                // Whoever asked is gone: the changes are still there.
                seen.dirty.merge(dirty);
            }
        }
    }

    /// Does what the handle wants; `false` when it is time to end.
    fn obey(&mut self) -> bool {
        let mut seen = self.shared.seen();
        let (stop, again) = (seen.stop, std::mem::take(&mut seen.begin_again));
        drop(seen);
        if again && !stop {
            self.begin();
            self.hand_over();
        }
        !stop
    }
}

/// Only ever compared with times that the file system wrote.
fn seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec
}
