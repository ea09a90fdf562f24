//! Layers: one recipe on a base.
//!
//! Owns: a layer's name, its draft, and how the draft becomes a read-only file. Must not:
//! start the throw-away machine in which the agent is installed; that is `workshop`'s.
//! A layer is made from nothing but base and recipe: a machine of an agent never becomes one.

use std::path::{Path, PathBuf};

use ringfence_model::size::Size;

use crate::engine::BootFiles;
use crate::engine::qemu::disk::{self, Source};
use crate::guest::recipe::Recipe;
use crate::image::store::{DISK, INITRD, Image, KERNEL, Kind, Locked, Store};
use crate::image::{ImageError, identifier};

/// Raised when layers must be made anew although neither base nor recipe changed.
const SCHEMA: &str = "1";

/// Room for an agent and what its installation needs on the way.
const DISK_SIZE: Size = Size::gib(20);

/// A layer's name.
#[must_use]
pub fn id(base: &str, recipe: &Recipe) -> String {
    identifier([
        ("schema", SCHEMA.as_bytes()),
        ("base", base.as_bytes()),
        ("recipe", recipe.name.as_str().as_bytes()),
        ("install", recipe.source.as_bytes()),
    ])
}

/// What [`begin`] found.
#[derive(Debug)]
pub enum Begun {
    /// The layer is there.
    Ready(Image),
    /// It has to be made.
    Draft(Box<Draft>),
}

/// A layer in the making; dropping it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    locked: Locked,
    place: tempfile::TempDir,
    id: String,
    base: PathBuf,
    base_id: String,
    recipe: String,
}

/// Returns the layer, or a draft of it while holding the store's lock.
///
/// # Errors
/// When the base was changed, or the disk is full.
pub async fn begin(store: &Store, base: &Image, recipe: &Recipe) -> Result<Begun, ImageError> {
    let id = id(&base.id, recipe);
    if let Some(image) = store.find(&id) {
        return Ok(Begun::Ready(image));
    }
    let locked = store.lock().await?;
    if let Some(image) = store.find(&id) {
        return Ok(Begun::Ready(image));
    }
    store.verify(&base.id, true)?;
    let place = locked.workplace()?;
    let machine = place.path().join("machine");
    std::fs::create_dir(&machine).map_err(ImageError::file(&machine))?;
    let (base, base_id) = (store.place(&base.id), base.id.clone());
    disk::create(&machine.join(DISK), &base.join(DISK), DISK_SIZE).await?;
    let recipe = recipe.name.to_string();
    Ok(Begun::Draft(Box::new(Draft { locked, place, id, base, base_id, recipe })))
}

impl Draft {
    /// The directory of the throw-away machine; its disk is in it.
    #[must_use]
    pub fn machine(&self) -> PathBuf {
        self.place.path().join("machine")
    }

    /// Size of that disk.
    #[must_use]
    pub const fn disk_size(&self) -> Size {
        DISK_SIZE
    }

    /// What that machine boots from.
    #[must_use]
    pub fn boot_files(&self) -> BootFiles {
        let file = |name: &str| self.base.join(name);
        BootFiles { disk: file(DISK), kernel: file(KERNEL), initrd: file(INITRD) }
    }

    /// Makes the stopped machine's disk a layer. `version` is what the agent said of itself.
    ///
    /// # Errors
    /// When the disk is full.
    pub async fn finish(
        self,
        version: String,
        percent: impl FnMut(f64),
    ) -> Result<Image, ImageError> {
        let machine = self.machine();
        let made = self.place.path().join(DISK);
        // By a relative name, so that the cache can be moved as a whole.
        let below = Path::new("..").join(&self.base_id).join(DISK);
        disk::compress(Source::Layer(&machine.join(DISK), &below), &made, percent).await?;
        std::fs::remove_dir_all(&machine).map_err(ImageError::file(&machine))?;
        for name in [KERNEL, INITRD] {
            let path = self.place.path().join(name);
            std::fs::hard_link(self.base.join(name), &path).map_err(ImageError::file(path))?;
        }
        let kind = Kind::Layer { base: self.base_id, recipe: self.recipe, version };
        self.locked.finish(self.place, &self.id, kind, &[DISK, KERNEL, INITRD])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::recipe;

    #[tokio::test]
    async fn a_layer_is_made_once_and_stands_on_its_base() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::new(directory.path());
        let raw = directory.path().join("raw");
        std::fs::write(&raw, vec![1; 1 << 20]).expect("written");
        let locked = store.lock().await.expect("lock");
        let place = locked.workplace().expect("workplace");
        disk::compress(Source::Raw(&raw), &place.path().join(DISK), |_| {}).await.expect("disk");
        for name in [KERNEL, INITRD] {
            std::fs::write(place.path().join(name), name).expect("written");
        }
        let kind = Kind::Base { imported: false };
        let base = locked.finish(place, "ba5e", kind, &[DISK, KERNEL, INITRD]).expect("base");
        drop(locked);
        let recipe = recipe::all().remove(0);
        let Begun::Draft(draft) = begin(&store, &base, &recipe).await.expect("begun") else {
            panic!("there is no such layer yet");
        };
        assert!(draft.machine().join(DISK).is_file());
        let image = draft.finish("1.2.3".to_owned(), |_| {}).await.expect("finished");
        let info = disk::info(&store.place(&image.id).join(DISK)).await.expect("a disk");
        assert_eq!(info.backing_filename.as_deref(), Some("../ba5e/disk.qcow2"));
        let files = store.boot_files(&image.id).expect("files");
        assert_eq!(std::fs::read(&files.kernel).expect("kernel"), KERNEL.as_bytes());
        // A machine's disk on the layer sees through to the base.
        let disk = directory.path().join("machine.qcow2");
        disk::create(&disk, &files.disk, Size::gib(30)).await.expect("a disk on the layer");
        store.verify(&image.id, true).expect("as built");
        assert!(matches!(begin(&store, &base, &recipe).await.expect("found"), Begun::Ready(_)));
    }
}
