//! Raw requests, as root in a machine can put them into the queue, answered by the guarded
//! folder without a machine: for fuzzing and for tests. Owns the queue's memory and the
//! folder that is attacked; the bytes come from elsewhere. Not part of the daemon.

mod guest;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use ringfence_model::admit::ShownNames;
use ringfence_model::folder::NameRules;
use rustix::fs::{CWD, Mode as Bits, OFlags, openat};
use rustix::process::{Resource, Rlimit, setrlimit};
use vhost_user_backend::bitmap::BitmapMmapRegion;
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use virtiofsd::descriptor_utils::{Reader, Writer};
use virtiofsd::server::Server;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::beneath::{Beneath, Names, Owners, Parts};
use crate::gate::Gate;
use crate::guarded::Guarded;
use crate::ops::{Access, Mode};
use crate::spec::Chown;

pub use guest::{Guest, NAMES};

/// Stands in every file that no guest may read.
pub const SECRET: &[u8] = b"not for the guest";
/// Stands in the file that a guest may read and not change.
pub const PROTECTED: &[u8] = b"not to be changed";

/// The most bytes of a request, and of an answer: what the server takes, and some more.
const MOST: usize = (1 << 20) + 8192;
/// The flags of a queue's descriptors (virtio 1.2, section 2.7.5).
const NEXT: u16 = 1;
const WRITABLE: u16 = 2;

const TABLE: GuestAddress = GuestAddress(0);
const AVAILABLE: GuestAddress = GuestAddress(0x1000);
const USED: GuestAddress = GuestAddress(0x2000);
const REQUEST: GuestAddress = GuestAddress(0x1_0000);
const ANSWER: GuestAddress = GuestAddress(0x20_0000);
const SIZE: usize = 0x40_0000;

/// A folder with things in it that a guest may not reach, and the share in front of it.
pub struct Lab {
    place: PathBuf,
    server: Server<Guarded>,
    memory: GuestMemoryMmap<BitmapMmapRegion>,
}

/// No file that this thread writes becomes larger than 16 MiB: a guest may ask for room, and the
/// disk of whoever fuzzes is not its.
///
/// # Errors
/// What the kernel said.
pub fn bound_files() -> io::Result<()> {
    // Blocked, the signal becomes EFBIG.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block()?;
    let most = Some(16 << 20);
    Ok(setrlimit(Resource::Fsize, Rlimit { current: most, maximum: most })?)
}

impl Lab {
    /// Lays `folder` and `outside` into an empty directory and opens the share on `folder`.
    ///
    /// # Errors
    /// What the file system said.
    pub fn new(place: &Path) -> io::Result<Self> {
        let folder = place.join("folder");
        for directory in ["outside", "folder/d/e", "folder/hidden", "folder/locked"] {
            fs::create_dir_all(place.join(directory))?;
        }
        for secret in ["outside/f", "folder/.env", "folder/d/.env", "folder/hidden/f"] {
            fs::write(place.join(secret), SECRET)?;
        }
        fs::write(folder.join("locked/f"), PROTECTED)?;
        fs::write(folder.join("f"), b"free")?;
        fs::hard_link(folder.join(".env"), folder.join("alias"))?;
        symlink("../outside/f", folder.join("out"))?;
        symlink("../outside", folder.join("way"))?;
        rustix::fs::mkfifoat(CWD, folder.join("fifo"), Bits::from_raw_mode(0o644))?;
        let opened = |path: &Path| -> io::Result<OwnedFd> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(openat(CWD, path, flags, Bits::empty())?)
        };
        let meta = fs::metadata(&folder)?;
        let patterns = |words: &[&str]| words.iter().filter_map(|word| word.parse().ok()).collect();
        let own =
            NameRules { hide: patterns(&[".env", "/hidden"]), protect: patterns(&["/locked/**"]) };
        let shown = ShownNames { own, ..ShownNames::default() };
        let beneath = Beneath::new(Parts {
            root: opened(&folder)?,
            own_fds: opened(Path::new("/proc/self/fd"))?,
            mounts: Vec::new(),
            owners: Owners {
                host_uid: meta.uid(),
                host_gid: meta.gid(),
                guest_uid: 1000,
                guest_gid: 1000,
            },
            keeper: None,
            names: Names::new(&shown).map_err(io::Error::other)?,
            most_descriptors: 1024,
        })?;
        beneath.look_for_links()?;
        let gate = Gate::new(Access::Rw, Mode::Rw).map_err(io::Error::other)?;
        let guarded = Guarded::new(Arc::new(gate), Arc::new(beneath), Chown::Pretend);
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)])
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { place: place.to_owned(), server: Server::new(guarded), memory })
    }

    /// What the share answers to a request that has `room` bytes for the answer; `None` where it
    /// does not answer: some requests have none, and a request that no kernel sends ends the
    /// share process, as the front end's loss would.
    #[must_use]
    pub fn ask(&self, request: &[u8], room: u32) -> Option<Vec<u8>> {
        let request = &request[..request.len().min(MOST)];
        let length = u32::try_from(request.len()).ok()?;
        let room = room.min(u32::try_from(MOST).ok()?);
        let parts = [
            Descriptor::new(REQUEST.0, length, NEXT, 1),
            Descriptor::new(ANSWER.0, room, WRITABLE, 0),
        ];
        for (number, part) in (0u64..).zip(parts) {
            let at = GuestAddress(TABLE.0 + 16 * number);
            self.memory.write_obj(RawDescriptor::from(part), at).ok()?;
        }
        self.memory.write_slice(request, REQUEST).ok()?;
        // The available ring: no flags, one entry, the chain that begins at descriptor 0.
        self.memory.write_obj([0u16, 1, 0], AVAILABLE).ok()?;
        let mut queue = Queue::new(16).ok()?;
        queue.try_set_desc_table_address(TABLE).ok()?;
        queue.try_set_avail_ring_address(AVAILABLE).ok()?;
        queue.try_set_used_ring_address(USED).ok()?;
        queue.set_ready(true);
        let chain = queue.iter(&self.memory).ok()?.next()?;
        let reader = Reader::new(&self.memory, chain.clone()).ok()?;
        let writer = Writer::new(&self.memory, chain).ok()?;
        let written = self.server.handle_message::<()>(reader, writer, None).ok()?;
        let mut answer = vec![0; written.min(MOST)];
        self.memory.read_slice(&mut answer, ANSWER).ok()?;
        (!answer.is_empty()).then_some(answer)
    }

    /// What a guest reached that it may not reach; empty is good.
    #[must_use]
    pub fn broken(&self) -> String {
        let mut broken = String::new();
        let holds: [(&str, &[u8]); 6] = [
            ("outside/f", SECRET),
            ("folder/.env", SECRET),
            ("folder/alias", SECRET),
            ("folder/d/.env", SECRET),
            ("folder/hidden/f", SECRET),
            ("folder/locked/f", PROTECTED),
        ];
        for (name, content) in holds {
            match fs::read(self.place.join(name)) {
                Ok(found) if found == content => {}
                found => _ = writeln!(broken, "{name} is {found:?}"),
            }
        }
        for (name, count) in [("outside", 1), ("folder/hidden", 1), ("folder/locked", 1)] {
            let found = fs::read_dir(self.place.join(name)).map_or(0, Iterator::count);
            if found != count {
                _ = writeln!(broken, "{name} has {found} entries");
            }
        }
        broken
    }
}
