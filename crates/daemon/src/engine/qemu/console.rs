//! What the guest prints on its serial console, in a bounded log.
//!
//! Owns: moving it from QEMU's ring to two files of at most half a MiB each. QEMU holds
//! the ring, so nothing is lost while no daemon runs, and a guest that prints for ever
//! fills no disk. Must not: interpret it; the bytes are the guest's.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::engine::qemu::EngineError;
use crate::engine::qemu::argv::CONSOLE_RING;
use crate::engine::qemu::machine::Running;

const LOG: &str = "console.log";
const OLDER: &str = "console.log.1";
const LARGEST: u64 = 512 << 10;

impl Running {
    /// Moves what the guest printed since the last call to the log. Call it once in a while and before the end.
    ///
    /// # Errors
    /// When QEMU is gone or the log cannot be written.
    pub async fn drain_console(&self) -> Result<(), EngineError> {
        let asked = json!({"device": "console", "size": CONSOLE_RING, "format": "base64"});
        let answer = self.qmp.execute("ringbuf-read", asked).await?;
        let bytes = STANDARD.decode(answer.as_str().unwrap_or_default()).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        append(&self.spec.directory, &bytes)
            .map_err(EngineError::file(self.spec.directory.join(LOG)))
    }
}

fn append(directory: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let path = directory.join(LOG);
    let size = std::fs::metadata(&path).map_or(0, |facts| facts.len());
    if size + bytes.len() as u64 > LARGEST && size > 0 {
        std::fs::rename(&path, directory.join(OLDER))?;
    }
    OpenOptions::new().create(true).append(true).open(path)?.write_all(bytes)
}

/// The last `most` bytes of the console.
///
/// # Errors
/// When the log exists and cannot be read.
pub fn console_tail(directory: &Path, most: u64) -> Result<Vec<u8>, EngineError> {
    let mut found = Vec::new();
    for name in [OLDER, LOG] {
        let path = directory.join(name);
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(EngineError::file(path)(error)),
        };
        let mut read = || {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
            file.read_to_end(&mut found)
        };
        read().map_err(EngineError::file(&path))?;
    }
    let from = found.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
    Ok(found.split_off(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_keeps_the_end() {
        let directory = tempfile::tempdir().expect("directory");
        assert_eq!(console_tail(directory.path(), 10).expect("nothing yet"), b"");
        let line = [b'x'; 1000];
        for _ in 0..3000 {
            append(directory.path(), &line).expect("written");
        }
        append(directory.path(), b"the end").expect("written");
        let total: u64 = std::fs::read_dir(directory.path())
            .expect("listed")
            .map(|entry| entry.expect("entry").metadata().expect("facts").len())
            .sum();
        assert!(total <= 2 * LARGEST, "{total}");
        assert_eq!(console_tail(directory.path(), 9).expect("tail"), b"xxthe end");
    }
}
