//! What the guard against mass loss is told of the folder, before anything is destroyed.
//! Must not decide what is too much: that is `mass_loss`.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, Statx, openat2};
use rustix::time::{ClockId, clock_gettime};

use super::node::{Ident, ROOT, lock};
use super::{BENEATH, Beneath, stat_at};
use crate::mass_loss::{Alarm, Halted, Regenerable, Verdict, Watch, regenerable};

/// Milliseconds of a clock that nobody sets and that a sleep does not stop.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000)
}

impl Beneath {
    /// A session begins, and with it the counting.
    pub(crate) fn watch_losses(&self, watch: Option<Watch>) {
        lock(&self.losses).begin(watch);
    }

    /// Somebody agreed to the loss that is under way.
    pub(crate) fn agree_to_loss(&self) {
        lock(&self.losses).agree(now());
    }

    /// The alarm that stands.
    pub(crate) fn alarm(&self) -> Option<Alarm> {
        lock(&self.losses).alarm()
    }

    /// Whether operations are to wait for somebody's decision.
    pub(crate) fn is_halted(&self) -> bool {
        lock(&self.losses).halts()
    }

    /// Asks before a file loses its content.
    ///
    /// # Errors
    /// [`Halted`]: nothing may have been done yet.
    pub(super) fn before_loss(
        &self,
        stat: &Statx,
        path: impl FnOnce() -> Vec<u8>,
    ) -> io::Result<()> {
        let mut losses = lock(&self.losses);
        if !losses.is_on() {
            return Ok(());
        }
        let look = |found: &Regenerable<'_>| self.has_a_sign(found);
        match losses.lose(now(), Ident::of(stat), &path(), look) {
            Verdict::Proceed => Ok(()),
            Verdict::Halt => Err(Halted::error()),
        }
    }

    /// Asks before a name goes that leads to a file, or to anything but a directory.
    ///
    /// # Errors
    /// As [`Self::before_loss`].
    pub(super) fn before_removal(&self, dir: &OwnedFd, parent: u64, name: &CStr) -> io::Result<()> {
        // What is not there, or a directory, the operation itself refuses.
        match stat_at(dir, name) {
            Ok(stat) if u32::from(stat.stx_mode) & 0o170_000 != 0o040_000 => {
                self.before_loss(&stat, || self.path_to(parent, name))
            }
            _ => Ok(()),
        }
    }

    /// What the session makes is its own to lose.
    pub(super) fn note_own(&self, stat: &Statx) {
        lock(&self.losses).made(Ident::of(stat));
    }

    /// What a session rewrote it may lose again.
    pub(super) fn note_rewritten(&self, stat: &Statx) {
        lock(&self.losses).rewritten(Ident::of(stat));
    }

    /// A name was moved: what comes into a regenerable directory from elsewhere, or becomes
    /// one, is nothing that a program will make again.
    pub(super) fn note_moved(&self, from: (u64, &CStr), to: (u64, &CStr)) {
        let mut losses = lock(&self.losses);
        if !losses.is_on() {
            return;
        }
        let (from, to) = (self.path_to(from.0, from.1), self.path_to(to.0, to.1));
        if let Some(into) = regenerable(&to)
            && regenerable(&from).is_none_or(|out_of| out_of.root != into.root)
        {
            losses.moved_in(into.root);
        }
    }

    fn has_a_sign(&self, found: &Regenerable<'_>) -> bool {
        if found.signs.is_empty() {
            return true;
        }
        let Ok(root) =
            self.table.get(ROOT).map_err(io::Error::from).and_then(|root| self.path_fd(&root))
        else {
            return false;
        };
        found.signs.iter().any(|sign| {
            let parent = if found.parent.is_empty() { b"." } else { found.parent };
            let path = [parent, sign].join(&b'/');
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat2(&*root, path, flags, Mode::empty(), BENEATH).is_ok()
        })
    }
}
