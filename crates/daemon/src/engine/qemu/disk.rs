//! Disks: the only place that runs `qemu-img`.
//!
//! Owns: making a machine's thin disk, layers and images. Must not: touch a disk that a
//! running QEMU has open.

use std::path::Path;
use std::time::Duration;

use ringfence_model::size::Size;
use serde::Deserialize;

use crate::engine::qemu::EngineError;
use crate::host::command::{CommandError, Program};

const BINARY: &str = "qemu-img";

/// Making or asking is quick; writing an image is not.
const QUICK: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(1800);

fn program() -> Program {
    Program::new(BINARY)
}

fn explain(error: CommandError) -> EngineError {
    if error.is_missing() {
        EngineError::Missing { program: BINARY, package: "qemu-utils" }
    } else {
        error.into()
    }
}

/// Makes a thin disk on a read-only qcow2 file; it grows up to `size`, or to its base's if that is larger.
///
/// # Errors
/// When `qemu-img` fails, for one because the disk is full.
pub async fn create(disk: &Path, base: &Path, size: Size) -> Result<(), EngineError> {
    let size = size.as_bytes().max(info(base).await?.virtual_size);
    let made = program()
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(base)
        .arg(disk)
        .arg(size.to_string())
        .deadline(QUICK)
        .check()
        .await;
    if made.is_err() {
        let _ = std::fs::remove_file(disk);
    }
    made.map(drop).map_err(explain)
}

/// Makes a stopped machine's disk larger. Disks are never made smaller.
///
/// # Errors
/// When `qemu-img` fails.
pub async fn grow(disk: &Path, size: Size) -> Result<(), EngineError> {
    if size.as_bytes() <= info(disk).await?.virtual_size {
        return Ok(());
    }
    let program = program().args(["resize", "-q", "-f", "qcow2"]).arg(disk);
    program.arg(size.as_bytes().to_string()).deadline(QUICK).check().await.map_err(explain)?;
    Ok(())
}

/// Facts about a disk file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    /// What the guest sees, in bytes.
    pub virtual_size: u64,
    /// What the file takes, in bytes.
    #[serde(default)]
    pub actual_size: u64,
    /// `qcow2`, `raw`, …
    pub format: String,
    /// The file below it.
    pub backing_filename: Option<String>,
    #[serde(default)]
    format_specific: serde_json::Value,
}

impl Info {
    /// Whether opening the disk opens other files that it names.
    #[must_use]
    pub fn leads_outside(&self) -> bool {
        self.backing_filename.is_some() || !self.format_specific["data"]["data-file"].is_null()
    }
}

/// Asks for facts about a disk file, also of one that a machine uses.
///
/// # Errors
/// When it is no disk.
pub async fn info(disk: &Path) -> Result<Info, EngineError> {
    let finished = program()
        .args(["info", "--force-share", "--output=json"])
        .arg(disk)
        .deadline(QUICK)
        .check()
        .await
        .map_err(explain)?;
    serde_json::from_slice(&finished.stdout)
        .map_err(|error| EngineError::file(disk)(std::io::Error::other(error)))
}

/// Where the content of a compressed copy comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A raw disk.
    Raw(&'a Path),
    /// A qcow2 disk with all that lies below it.
    Whole(&'a Path),
    /// What a qcow2 disk adds to the base below it; the copy stays a layer on that base.
    Layer(&'a Path, &'a Path),
}

/// Writes a compressed qcow2 copy; `percent` hears how far it is.
///
/// # Errors
/// When `qemu-img` fails.
pub async fn compress(
    source: Source<'_>,
    target: &Path,
    mut percent: impl FnMut(f64),
) -> Result<(), EngineError> {
    use tokio::io::AsyncReadExt as _;
    let (format, from, base) = match source {
        Source::Raw(from) => ("raw", from, None),
        Source::Whole(from) => ("qcow2", from, None),
        Source::Layer(from, base) => ("qcow2", from, Some(base)),
    };
    let mut program = program()
        .args(["convert", "-p", "-c", "-W", "-m", "4", "-f", format, "-O", "qcow2"])
        .args(["-o", "compression_type=zstd"]);
    if let Some(base) = base {
        program = program.args(["-F", "qcow2", "-B"]).arg(base);
    }
    let log = tempfile::NamedTempFile::new().map_err(EngineError::file(std::env::temp_dir()))?;
    let errors = log.reopen().map_err(EngineError::file(log.path()))?;
    let mut child = program
        .arg(from)
        .arg(target)
        .spawn(std::process::Stdio::null(), std::process::Stdio::piped(), errors.into())
        .map_err(explain)?;
    let work = async {
        let mut chunk = [0; 4096];
        if let Some(mut out) = child.stdout.take() {
            loop {
                let count = out.read(&mut chunk).await?;
                if count == 0 {
                    break;
                }
                if let Some(found) = last_percent(&chunk[..count]) {
                    percent(found);
                }
            }
        }
        child.wait().await
    };
    let status = tokio::time::timeout(LONG, work)
        .await
        .map_err(|_| CommandError::Deadline { program: BINARY.into(), after: LONG })?
        .map_err(EngineError::file(target))?;
    if status.success() {
        return Ok(());
    }
    let tail = crate::host::command::tail(&std::fs::read(log.path()).unwrap_or_default(), 1000);
    Err(CommandError::Failed { program: BINARY.into(), status, tail }.into())
}

/// The last `(12.34/100%)` in a piece of output.
fn last_percent(bytes: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(bytes);
    let end = text.rfind("/100%")?;
    let begin = text[..end].rfind('(')?;
    text[begin + 1..end].trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_read_from_what_qemu_img_prints() {
        assert_eq!(last_percent(b"    (1.75/100%)\r    (3.51/100%)\r"), Some(3.51));
        assert_eq!(last_percent(b"    (100.00/100%)\r"), Some(100.0));
        assert_eq!(last_percent(b"    (1.7"), None);
    }

    #[tokio::test]
    async fn a_disk_is_thin_and_only_grows() {
        let directory = tempfile::tempdir().expect("directory");
        let raw = directory.path().join("raw");
        std::fs::write(&raw, vec![7; 1 << 20]).expect("written");
        let base = directory.path().join("base.qcow2");
        let mut seen = 0.0;
        compress(Source::Raw(&raw), &base, |percent| seen = percent).await.expect("compressed");
        assert!((seen - 100.0).abs() < 0.01, "{seen}");
        let disk = directory.path().join("disk.qcow2");
        create(&disk, &base, Size::gib(3)).await.expect("made");
        let facts = info(&disk).await.expect("facts");
        assert_eq!((facts.virtual_size, facts.format.as_str()), (3 << 30, "qcow2"));
        assert!(facts.actual_size < 1 << 20, "{facts:?}");
        grow(&disk, Size::gib(1)).await.expect("nothing to do");
        grow(&disk, Size::gib(4)).await.expect("grown");
        assert_eq!(info(&disk).await.expect("facts").virtual_size, 4 << 30);
        let (target, missing) = (directory.path().join("x"), directory.path().join("no"));
        assert!(create(&target, &missing, Size::gib(1)).await.is_err());
        assert!(!target.exists());
    }
}
