//! Files as the engine reads them for a snapshot. Owns the promise that as many bytes
//! are stored as the status says, and the notes about files that moved or failed;
//! opens nothing: it is given descriptors.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustic_core::{ReadSourceOpen, RusticResult};
use rustix::fs::SeekFrom;

use crate::engine::engine_error;
use crate::scan::remark;
use crate::source::Pass;
use crate::stat::Stat;
use crate::watch::Step;

/// A file about to be read; without a descriptor where the engine must not read.
pub(crate) struct Opening {
    pub(crate) pass: Arc<Pass>,
    pub(crate) path: Vec<u8>,
    pub(crate) file: Option<(File, Stat)>,
}

impl Opening {
    /// For a file whose content is stored already.
    pub(crate) fn none(pass: &Arc<Pass>, path: &[u8]) -> Self {
        Self { pass: Arc::clone(pass), path: path.to_vec(), file: None }
    }
}

impl ReadSourceOpen for Opening {
    type Reader = Reader;

    fn open(self) -> RusticResult<Reader> {
        let Some((file, stat)) = self.file else {
            let why = "the engine wanted to read a file that is stored already".to_owned();
            self.pass.found().failed.push((self.path, why));
            return Err(engine_error("unexpected read"));
        };
        self.pass.found().opened += 1;
        let sparse = stat.size >= WORTH_ASKING && is_sparse(&file);
        let (left, path, pass) = (stat.size, self.path, self.pass);
        Ok(Reader { left, sparse, data_until: 0, ended: false, file, stat, path, pass })
    }
}

/// Yields exactly as many bytes as the file's status promised, so that the stored
/// size and content agree even for a file that changes meanwhile (which is noted).
pub(crate) struct Reader {
    pass: Arc<Pass>,
    path: Vec<u8>,
    file: File,
    stat: Stat,
    left: u64,
    /// It has holes, which are not read: twenty gigabytes of nothing would fill the page cache.
    sparse: bool,
    /// Up to here there is known to be data.
    data_until: u64,
    ended: bool,
}

/// Smaller files are not asked for holes.
const WORTH_ASKING: u64 = 1 << 20;

fn is_sparse(file: &File) -> bool {
    rustix::fs::fstat(file).is_ok_and(|s| {
        let length = u64::try_from(s.st_size).unwrap_or(0);
        u64::try_from(s.st_blocks).unwrap_or(u64::MAX).saturating_mul(512) < length
    })
}

impl Reader {
    /// How many of the next `most` bytes are a hole, from the next one on.
    fn hole(&mut self, at: u64, most: usize) -> usize {
        if !self.sparse || at < self.data_until {
            return 0;
        }
        let data = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => self.stat.size,
            Err(_) => at,
        };
        if data <= at {
            self.data_until = rustix::fs::seek(&self.file, SeekFrom::Hole(at)).unwrap_or(u64::MAX);
        }
        usize::try_from(data.saturating_sub(at)).unwrap_or(usize::MAX).min(most)
    }

    fn count(&mut self, got: usize) -> usize {
        self.left -= got as u64;
        self.pass.read_bytes.fetch_add(got as u64, Ordering::Relaxed);
        self.pass.watch.step(Step::Read(got as u64));
        if self.left == 0 {
            self.end();
        }
        got
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true)
            && Stat::of(&self.file).is_ok_and(|now| !now.same_read(&self.stat))
        {
            self.pass.found().changed.push(self.path.clone());
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || self.pass.watch.cancel.is_cancelled() {
            self.end();
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let at = self.stat.size - self.left;
        let part = match self.hole(at, most) {
            0 => &mut buffer[..most],
            hole => {
                buffer[..hole].fill(0);
                return Ok(self.count(hole));
            }
        };
        let got = loop {
            match self.file.read_at(part, at) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let got = match got {
            Ok(0) => {
                // Shorter than it was: the rest reads as zeros, as in an archive.
                part.fill(0);
                most
            }
            Ok(got) => got,
            Err(e) => {
                self.pass.found().failed.push((self.path.clone(), remark(&[], &e, false).why));
                return Err(e);
            }
        };
        Ok(self.count(got))
    }
}
