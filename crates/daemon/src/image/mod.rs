//! Images: the read-only disks that machines start from.
//!
//! Owns: the base image's recipe ([`base`]) and its build ([`build`]), what agents add
//! to it ([`layer`]), the store on disk ([`store`]), moving images between hosts
//! ([`transfer`]). Must not: start a machine; a layer's machine is started by `workshop`.

pub mod archive;
pub mod base;
pub mod build;
pub mod host;
pub mod layer;
pub mod progress;
pub mod store;
pub mod transfer;

use std::io;
use std::path::PathBuf;

use crate::engine::qemu::EngineError;
use crate::host::command::CommandError;

/// Why an image could not be made, found or used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program that builds images is missing.
    #[error("`{program}` is not installed; install it with: apt-get install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// This user may not build images on this host.
    #[error("building an image without root needs user namespaces, and {what}; {cure}")]
    NoNamespace {
        /// What is missing.
        what: String,
        /// What to type.
        cure: String,
    },
    /// The mirror cannot be reached.
    #[error(
        "the packages' mirror {mirror} cannot be reached; go online, or bring an image from a host that is (there: `ringfence image export FILE`, here: `ringfence image build --from FILE`): {tail}"
    )]
    Offline {
        /// The mirror.
        mirror: String,
        /// The end of the log.
        tail: String,
    },
    /// The build failed.
    #[error("building the image failed while {step}: {tail}")]
    Build {
        /// What was being done.
        step: &'static str,
        /// The end of the log.
        tail: String,
    },
    /// There is no such image.
    #[error("there is no image {0}; `ringfence image list` shows what there is")]
    Unknown(String),
    /// The files are not what was built.
    #[error(
        "image {id} was changed after it was built ({what}); remove it with `ringfence image remove {id}` and build it again"
    )]
    Changed {
        /// The image.
        id: String,
        /// What does not fit.
        what: String,
    },
    /// Something stands on it.
    #[error("image {id} is in use by {by}")]
    InUse {
        /// The image.
        id: String,
        /// By what.
        by: String,
    },
    /// A file to import is none of ours.
    #[error("{path} is not an image exported by `ringfence image export`: {why}", path = .path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A recipe is wrong.
    #[error("recipe `{name}`: {why}")]
    Recipe {
        /// The recipe.
        name: String,
        /// Why.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Work on a disk failed.
    #[error(transparent)]
    Disk(#[from] EngineError),
    /// An outside program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl ImageError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// The first 32 hexadecimal digits of a SHA-256 over named parts; lengths keep them apart.
pub(crate) fn identifier<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for (name, content) in parts {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    let mut text = hex(&hash.finalize());
    text.truncate(32);
    text
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
