//! Images: made when first needed, so that nobody has to know about them.

use std::path::{Path, PathBuf};

use ringfence_model::api::{ImageRequest, ImageView, RecipeView};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::name::{MachineName, ProfileName, RecipeName};

use super::report::Report;
use super::{Daemon, failed, of_kind};
use crate::guest::recipe;
use crate::host::facts;
use crate::image::host::Builder;
use crate::image::layer::{self, Begun};
use crate::image::progress::Progress;
use crate::image::store::{Image, Kind};
use crate::image::{ImageError, base, build};
use crate::workshop;

/// Where Debian's packages come from, unless the host's own sources say otherwise.
const MIRROR: &str = "http://deb.debian.org/debian";

impl Daemon {
    /// That a machine's image is there, whole, and named in its record. A machine keeps the
    /// image that it was made from.
    pub(super) async fn ensure_image(
        &self,
        name: &MachineName,
        report: &Report,
    ) -> Result<(), ApiError> {
        let mut machine = self.machines.record(name)?;
        let known = !machine.image.is_empty();
        let image = if known {
            machine.image.clone()
        } else {
            self.image_for(machine.recipe.as_ref(), report).await?.id
        };
        self.images.verify(&image, !known).map_err(image_error)?;
        if !known {
            machine.image = image;
            self.store.set_machine(&machine).map_err(failed)?;
        }
        Ok(())
    }

    /// The base image, with a recipe's layer on it where one is named.
    async fn image_for(
        &self,
        recipe: Option<&RecipeName>,
        report: &Report,
    ) -> Result<Image, ApiError> {
        let base = match self.images.base(&base::id()) {
            Some(image) => image,
            None => self.build_base(report).await?,
        };
        match recipe {
            None => Ok(base),
            Some(name) => self.build_layer(&base, name, report).await,
        }
    }

    async fn build_base(&self, report: &Report) -> Result<Image, ApiError> {
        build::build(&self.images, &settings(), tell(report, "image".to_owned()))
            .await
            .map_err(image_error)
    }

    /// The layer of a recipe on a base, made in a throw-away machine where it is not there yet.
    async fn build_layer(
        &self,
        base: &Image,
        name: &RecipeName,
        report: &Report,
    ) -> Result<Image, ApiError> {
        let recipe = recipe::find(name).ok_or_else(|| {
            ApiError::new(ErrorKind::Config, format!("there is no recipe `{name}`"))
                .hint("ringfence recipe list")
        })?;
        let draft = match layer::begin(&self.images, base, &recipe).await.map_err(image_error)? {
            Begun::Ready(image) => return Ok(image),
            Begun::Draft(draft) => *draft,
        };
        let probe = self.machines.probe().await?;
        let (bench, gateway) = self.machines.bench(name).await?;
        let outcome = workshop::install(
            draft,
            &recipe,
            &bench,
            probe,
            tell(report, recipe.description.clone()),
        )
        .await;
        gateway.end(std::time::Duration::from_secs(2)).await;
        let _ = std::fs::remove_dir_all(&bench.run);
        outcome.map_err(|error| {
            of_kind(ErrorKind::Engine, error).hint("try again: ringfence image build")
        })
    }

    /// Builds the image that new machines start from.
    ///
    /// # Errors
    /// When something that builds images is missing, or the mirror cannot be reached.
    pub async fn build_image(
        &self,
        request: &ImageRequest,
        report: &Report,
    ) -> Result<ImageView, ApiError> {
        let image = match &request.from {
            Some(file) => {
                let imported = crate::image::transfer::import(&self.images, file)
                    .await
                    .map_err(image_error)?;
                match &request.recipe {
                    Some(recipe) => self.build_layer(&imported, recipe, report).await?,
                    None => imported,
                }
            }
            None => self.image_for(request.recipe.as_ref(), report).await?,
        };
        self.image_view(&image)
    }

    /// Writes the base image to one file, for a host that is offline.
    ///
    /// # Errors
    /// When there is no base image yet, or the file exists or cannot be written.
    pub async fn export_image(&self, file: &Path, report: &Report) -> Result<PathBuf, ApiError> {
        if file.exists() {
            return Err(ApiError::new(
                ErrorKind::Failed,
                format!("{} exists already", file.display()),
            )
            .hint("name another file"));
        }
        let Some(base) = self.images.base(&base::id()) else {
            return Err(ApiError::new(ErrorKind::Engine, "there is no image to export yet")
                .hint("ringfence image build"));
        };
        report.progress("writing the image", None);
        crate::image::transfer::export(&self.images, &base.id, file).await.map_err(image_error)?;
        Ok(file.to_owned())
    }

    /// Every image and layer.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn image_views(&self) -> Result<Vec<ImageView>, ApiError> {
        self.images.list().iter().map(|image| self.image_view(image)).collect()
    }

    fn image_view(&self, image: &Image) -> Result<ImageView, ApiError> {
        let machines = self.store.machines().map_err(failed)?;
        let directory = self.images.place(&image.id);
        let bytes = image
            .files
            .iter()
            .filter_map(|file| std::fs::metadata(directory.join(&file.name)).ok())
            .map(|facts| facts.len())
            .sum();
        let built = std::fs::metadata(&directory).and_then(|facts| facts.modified()).ok();
        let built = built.and_then(|time| jiff::Timestamp::try_from(time).ok());
        Ok(ImageView {
            description: match &image.kind {
                Kind::Base { imported: false } => "Debian 13".into(),
                Kind::Base { imported: true } => "Debian 13, imported".into(),
                Kind::Layer { recipe, version, .. } => format!("{recipe} {version}"),
            },
            bytes,
            built: built.unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            used_by: machines
                .into_iter()
                .filter(|machine| machine.image == image.id)
                .map(|machine| machine.name)
                .collect(),
            current: self.images.base(&base::id()).is_some_and(|base| match &image.kind {
                Kind::Base { .. } => base.id == image.id,
                Kind::Layer { base: below, .. } => base.id == *below,
            }),
            hash: image.id.clone(),
        })
    }

    /// Removes an image that no machine starts from.
    ///
    /// # Errors
    /// When a machine or a layer stands on it.
    pub async fn remove_image(&self, hash: &str) -> Result<(), ApiError> {
        let users: Vec<String> = self
            .store
            .machines()
            .map_err(failed)?
            .into_iter()
            .filter(|machine| machine.image == hash)
            .map(|machine| machine.name.to_string())
            .collect();
        if !users.is_empty() {
            let message =
                format!("image {hash} is the disk that machine {} starts from", users.join(", "));
            return Err(ApiError::new(ErrorKind::Failed, message)
                .hint(format!("ringfence machine delete {}", users.join(" "))));
        }
        self.images.remove(hash).await.map_err(image_error)
    }

    /// Every recipe.
    #[must_use]
    pub fn recipe_views(&self) -> Vec<RecipeView> {
        recipe::all()
            .into_iter()
            .filter_map(|recipe| {
                Some(RecipeView {
                    name: recipe.name,
                    description: recipe.description,
                    profile: ProfileName::new(recipe.profile).ok()?,
                    command: recipe.command,
                })
            })
            .collect()
    }
}

fn settings() -> build::Settings {
    build::Settings {
        mirror: facts::variable("RINGFENCE_MIRROR")
            .and_then(|value| value.into_string().ok())
            .unwrap_or_else(|| MIRROR.to_owned()),
        authorities: crate::guest::authorities::host_bundle(),
        network: facts::network_variables(),
        builder: builder(),
    }
}

fn builder() -> Builder {
    Builder {
        root: facts::is_root(),
        user: facts::variable("USER")
            .and_then(|value| value.into_string().ok())
            .unwrap_or_default(),
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// Progress of a build as progress of the request.
pub(super) fn tell(report: &Report, what: String) -> impl FnMut(Progress) + Send + use<> {
    let report = report.clone();
    move |progress| {
        #[expect(clippy::cast_possible_truncation, reason = "a fraction for people")]
        let fraction = (progress.percent / 100.0) as f32;
        report.progress(format!("{what}: {}", progress.step.words()), Some(fraction));
    }
}

pub(super) fn image_error(error: ImageError) -> ApiError {
    of_kind(ErrorKind::Engine, error)
}
