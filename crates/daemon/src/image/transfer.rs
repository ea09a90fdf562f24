//! Images between hosts: how a host without a net gets its base.
//!
//! Owns: the archive and the checks on the way in. Must not: provision; what comes in is what
//! was built elsewhere, byte for byte, or it is refused.

use std::path::Path;
use std::time::Duration;

use crate::engine::qemu::disk;
use crate::host::command::Program;
use crate::image::ImageError;
use crate::image::store::{DISK, INITRD, Image, KERNEL, Kind, RECORD, Store, sha256};

const LOCK_FILE: &str = "packages.lock";
const NAMES: [&str; 4] = [DISK, KERNEL, INITRD, LOCK_FILE];
const PATIENCE: Duration = Duration::from_secs(1800);

/// Writes a base image into one file for another host.
///
/// # Errors
/// When there is no such base, it was changed, or the file cannot be written.
pub async fn export(store: &Store, id: &str, file: &Path) -> Result<(), ImageError> {
    store.verify(id, true)?;
    if !matches!(store.find(id).map(|image| image.kind), Some(Kind::Base { .. })) {
        return Err(ImageError::Unknown(format!(
            "{id} that is a base; layers are made on each host"
        )));
    }
    let directory =
        file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = tempfile::NamedTempFile::new_in(directory).map_err(ImageError::file(directory))?;
    Program::new("tar")
        .args(["--create", "--sparse", "--owner=0", "--group=0", "--file"])
        .arg(part.path())
        .arg("--directory")
        .arg(store.place(id))
        .arg(RECORD)
        .args(NAMES)
        .deadline(PATIENCE)
        .check()
        .await?;
    part.as_file().sync_all().map_err(ImageError::file(file))?;
    part.persist(file).map_err(|error| ImageError::file(file)(error.error))?;
    Ok(())
}

/// Takes an exported base in. A machine starts from it where the base of this version of Ringfence is not there.
///
/// # Errors
/// When the file is not an export, was damaged, or its disk points at files of this host.
pub async fn import(store: &Store, file: &Path) -> Result<Image, ImageError> {
    let refused = |why: String| ImageError::NotAnImage { path: file.to_owned(), why };
    std::fs::File::open(file).map_err(ImageError::file(file))?;
    let locked = store.lock().await?;
    let place = locked.workplace()?;
    let unpacked = Program::new("tar")
        .args(["--extract", "--no-same-owner", "--no-same-permissions", "--file"])
        .arg(file)
        .arg("--directory")
        .arg(place.path())
        .arg(RECORD)
        .args(NAMES)
        .deadline(PATIENCE)
        .check()
        .await;
    unpacked.map_err(|error| refused(error.to_string()))?;
    let inside = |name: &str| place.path().join(name);
    for name in NAMES.iter().chain([&RECORD]) {
        // A link would have us read, hash and boot another file of this host.
        let plain = std::fs::symlink_metadata(inside(name)).is_ok_and(|facts| facts.is_file());
        if !plain {
            return Err(refused(format!("{name} is not a plain file")));
        }
    }
    let record = std::fs::read(inside(RECORD)).map_err(ImageError::file(inside(RECORD)))?;
    let wanted: Image =
        serde_json::from_slice(&record).map_err(|error| refused(error.to_string()))?;
    let plain = wanted.id.len() == 32 && wanted.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if wanted.schema != 1 || !plain || !matches!(wanted.kind, Kind::Base { .. }) {
        return Err(refused("its record is not that of a base".to_owned()));
    }
    for name in NAMES {
        let sum = sha256(&inside(name)).map_err(ImageError::file(inside(name)))?;
        if !wanted.files.iter().any(|known| known.name == name && known.sha256 == sum) {
            return Err(refused(format!("{name} is damaged")));
        }
    }
    let info = disk::info(&inside(DISK)).await.map_err(|error| refused(error.to_string()))?;
    if info.format != "qcow2" || info.leads_outside() {
        return Err(refused("its disk refers to other files".to_owned()));
    }
    if let Some(image) = store.find(&wanted.id) {
        return Ok(image);
    }
    std::fs::remove_file(inside(RECORD)).map_err(ImageError::file(inside(RECORD)))?;
    locked.finish(place, &wanted.id, Kind::Base { imported: true }, &NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::qemu::disk::Source;
    use ringfence_model::size::Size;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    async fn base(store: &Store, make: impl AsyncFnOnce(&Path)) {
        let locked = store.lock().await.expect("lock");
        let place = locked.workplace().expect("workplace");
        make(&place.path().join(DISK)).await;
        for name in [KERNEL, INITRD, LOCK_FILE] {
            std::fs::write(place.path().join(name), name).expect("written");
        }
        locked.finish(place, ID, Kind::Base { imported: false }, &NAMES).expect("finished");
    }

    #[tokio::test]
    async fn an_exported_base_arrives_whole() {
        let directory = tempfile::tempdir().expect("directory");
        let (here, there) =
            (Store::new(directory.path().join("a")), Store::new(directory.path().join("b")));
        let raw = directory.path().join("raw");
        std::fs::write(&raw, vec![1; 1 << 20]).expect("written");
        base(&here, async |disk| {
            disk::compress(Source::Raw(&raw), disk, |_| {}).await.expect("disk")
        })
        .await;
        let file = directory.path().join("image.tar");
        export(&here, ID, &file).await.expect("exported");
        let image = import(&there, &file).await.expect("imported");
        assert_eq!((image.id.as_str(), &image.kind), (ID, &Kind::Base { imported: true }));
        there.verify(ID, true).expect("whole");
        assert_eq!(there.base("another version"), Some(image));

        let mut bytes = std::fs::read(&file).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).expect("written");
        let other = Store::new(directory.path().join("c"));
        let error = import(&other, &file).await.expect_err("damaged");
        assert!(matches!(error, ImageError::NotAnImage { .. }), "{error}");
        std::fs::write(&file, "no archive").expect("written");
        assert!(import(&other, &file).await.is_err());
        assert!(other.list().is_empty());
    }

    #[tokio::test]
    async fn a_disk_that_points_at_the_host_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let (here, there) =
            (Store::new(directory.path().join("a")), Store::new(directory.path().join("b")));
        let secret = directory.path().join("secret.qcow2");
        let raw = directory.path().join("raw");
        std::fs::write(&raw, vec![1; 1 << 20]).expect("written");
        disk::compress(Source::Raw(&raw), &secret, |_| {}).await.expect("disk");
        base(&here, async |disk| disk::create(disk, &secret, Size::gib(1)).await.expect("disk"))
            .await;
        let file = directory.path().join("image.tar");
        export(&here, ID, &file).await.expect("exported");
        let error = import(&there, &file).await.expect_err("refused");
        assert!(error.to_string().contains("refers to other files"), "{error}");
    }
}
