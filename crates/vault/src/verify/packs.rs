//! Reads whole packs and says which of their blobs are lost. Owns the threads that do
//! it and the memory they may take: one buffer of [`PIECE`] bytes and one blob each.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustic_core::repofile::{IndexBlob, IndexPack, MasterKey};
use rustic_core::{FileType, Id};
use sha2::{Digest, Sha256};

use super::inventory::reason;
use crate::error::Result;
use crate::seal::Seal;
use crate::storage::Storage;
use crate::watch::{Step, Watch};

/// Bytes that are read at once.
const PIECE: usize = 1024 * 1024;
/// More threads than this only wait for the disk.
const MOST_THREADS: usize = 8;

/// How closely a pack is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Its hash must be its name: then it is what was written.
    Hash,
    /// Every blob is opened as well and must have the length and hash that the index says.
    Blobs,
}

/// A pack that is not as it was written.
#[derive(Debug)]
pub(crate) struct BadPack {
    /// Its place in the list that was read.
    pub(crate) number: usize,
    pub(crate) why: String,
    /// It is not there at all.
    pub(crate) gone: bool,
    /// Blobs that cannot be read back from it any more.
    pub(crate) lost: Vec<IndexBlob>,
    /// Blobs that can.
    pub(crate) sound: Vec<IndexBlob>,
}

/// How much was read, and what was wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) bytes: u64,
    pub(crate) bad: Vec<BadPack>,
}

/// Packs that were read back whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacksRead {
    /// Names of those that are as they were written.
    pub whole: Vec<String>,
    /// Names of those that are not.
    pub bad: Vec<String>,
    /// Bytes read.
    pub bytes: u64,
}

/// Reads these packs, one after the other, and compares each hash with its name.
pub(crate) fn read_back(
    storage: &Storage,
    master: &MasterKey,
    names: &[String],
    watch: &Watch,
) -> Result<PacksRead> {
    let seal = Seal::new(master)?;
    let listed = names.iter().filter_map(|name| name.parse::<Id>().ok());
    let there: Vec<IndexPack> = listed
        .filter_map(|id| {
            let size = std::fs::metadata(storage.path(FileType::Pack, &id)).ok()?.len();
            let mut pack = IndexPack { size: u32::try_from(size).ok(), ..IndexPack::default() };
            pack.id = id.into();
            Some(pack)
        })
        .collect();
    let all: Vec<usize> = (0..there.len()).collect();
    let reader = PackReader { storage, seal: &seal, watch, threads: 1 };
    let found = reader.read(&there, &all, Depth::Hash)?;
    let mut read = PacksRead { bytes: found.bytes, ..PacksRead::default() };
    for (number, pack) in there.iter().enumerate() {
        let name = pack.id.to_hex().as_str().to_owned();
        if found.bad.iter().any(|bad| bad.number == number) {
            // Gone while it was read: a prune took it.
            if storage.path(FileType::Pack, &pack.id).exists() {
                read.bad.push(name);
            }
        } else {
            read.whole.push(name);
        }
    }
    Ok(read)
}

/// Everything that the threads share.
pub(crate) struct PackReader<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) seal: &'a Seal,
    pub(crate) watch: &'a Watch,
    /// At most so many threads, and never more than there are processors.
    pub(crate) threads: usize,
}

impl PackReader<'_> {
    /// Reads the packs at these places of `packs`.
    pub(crate) fn read(&self, packs: &[IndexPack], which: &[usize], depth: Depth) -> Result<Found> {
        let next = AtomicUsize::new(0);
        let all = Mutex::new(Found::default());
        let work = || {
            let mut buffers = Buffers::default();
            while let Some(&number) = which.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some(pack) = packs.get(number) else { continue };
                if self.watch.cancel.is_cancelled() {
                    return;
                }
                let outcome = self.one(pack, depth, &mut buffers);
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.bytes += u64::from(pack.pack_size());
                if let Some((why, lost, sound)) = outcome {
                    let gone = !self.storage.path(FileType::Pack, &pack.id).exists();
                    all.bad.push(BadPack { number, why, gone, lost, sound });
                }
                drop(all);
                self.watch.step(Step::Read(pack.pack_size().into()));
            }
        };
        let threads = threads(self.threads).min(which.len());
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        self.watch.cancel.check()?;
        let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.bad.sort_unstable_by_key(|bad| bad.number);
        Ok(all)
    }

    /// What is wrong with one pack, the blobs that are lost, and those that are not.
    fn one(
        &self,
        pack: &IndexPack,
        depth: Depth,
        buffers: &mut Buffers,
    ) -> Option<(String, Vec<IndexBlob>, Vec<IndexBlob>)> {
        let path = self.storage.path(FileType::Pack, &pack.id);
        let opened = File::open(path).and_then(|file| {
            if depth == Depth::Hash {
                // From the disk, not from the kernel's memory; where that is refused it is
                // read all the same.
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            }
            let found = hash_of(&file, &mut buffers.piece);
            found.map(|found| (file, found))
        });
        let (file, hash) = match opened {
            Ok((file, hash)) => (Some(file), Ok(hash)),
            Err(error) => (None, Err(reason(&error))),
        };
        let whole = matches!(hash, Ok(hash) if hash == *pack.id);
        if whole && depth == Depth::Hash {
            return None;
        }
        // A disk that fails at one place may still give the rest.
        let file = file.or_else(|| File::open(self.storage.path(FileType::Pack, &pack.id)).ok());
        let (sound, lost): (Vec<_>, Vec<_>) = pack.blobs.iter().partition(|blob| {
            file.as_ref().is_some_and(|file| self.blob_is_sound(file, blob, buffers))
        });
        let why = match hash {
            _ if whole && lost.is_empty() => return None,
            _ if whole => "what it holds is not what the index says".to_owned(),
            Ok(_) if lost.is_empty() => {
                "it is damaged, but no content in it is: only its table of contents".to_owned()
            }
            Ok(_) => "its content is not what was written".to_owned(),
            Err(why) => why.to_owned(),
        };
        let owned = |blobs: Vec<&IndexBlob>| blobs.into_iter().copied().collect();
        Some((why, owned(lost), owned(sound)))
    }

    fn blob_is_sound(&self, file: &File, blob: &IndexBlob, buffers: &mut Buffers) -> bool {
        let Ok(length) = usize::try_from(blob.location.length) else { return false };
        // The index may promise more than there is: ask before reserving memory.
        let end = u64::from(blob.location.offset) + u64::from(blob.location.length);
        if !file.metadata().is_ok_and(|meta| meta.len() >= end) {
            return false;
        }
        buffers.sealed.resize(length, 0);
        file.read_exact_at(&mut buffers.sealed, blob.location.offset.into()).is_ok()
            && self
                .seal
                .open_blob(
                    &mut buffers.sealed,
                    blob.location.uncompressed_length,
                    &blob.id,
                    &mut buffers.spare,
                )
                .is_some()
    }
}

/// How many threads may work, given that no more than `most` shall.
pub(crate) fn threads(most: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.min(most).clamp(1, MOST_THREADS)
}

#[derive(Default)]
struct Buffers {
    piece: Vec<u8>,
    sealed: Vec<u8>,
    spare: Vec<u8>,
}

fn hash_of(mut file: &File, piece: &mut Vec<u8>) -> io::Result<Id> {
    piece.resize(PIECE, 0);
    let mut hasher = Sha256::new();
    loop {
        match file.read(piece) {
            Ok(0) => return Ok(Id::new(hasher.finalize().into())),
            Ok(got) => hasher.update(&piece[..got]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
