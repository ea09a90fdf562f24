//! `ringfence image …`

use std::path::PathBuf;

use clap::Subcommand;
use ringfence_model::api::{ImageExportRequest, ImageRequest, ImageView};
use ringfence_model::name::RecipeName;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::{Result, usage};
use crate::output::{lists, words};

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images
    List(JsonArgs),
    /// Build the image that new machines start from, where it is missing
    Build {
        /// An image that `image export` wrote on another host, instead of packages from the network
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Also install the agent of this recipe
        #[arg(long)]
        recipe: Option<RecipeName>,
    },
    /// Write the image to one file, for a host that is offline
    Export {
        /// The file; it must not exist yet
        file: PathBuf,
    },
    /// Remove an image that no machine starts from
    Remove {
        /// The first digits of its hash
        image: String,
    },
}

/// Does it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, command: ImageCommand) -> Result<u8> {
    let out = &app.out;
    match command {
        ImageCommand::List(json) => {
            let images: Vec<ImageView> = app.get(Route::new("/v1/images")).await?;
            if json.json {
                out.json_list("images", &images)?;
            } else if images.is_empty() {
                out.note("There is no image yet: ringfence image build");
            } else {
                out.print(&lists::images(&images, app.now(), &out.style))?;
            }
        }
        ImageCommand::Build { from, recipe } => {
            let from = from.map(|file| app.surroundings.directory.join(file));
            let request = ImageRequest { from, recipe };
            let image: ImageView = app.stream(Route::new("/v1/images"), &request).await?;
            out.note(&format!(
                "Image {} is ready ({}).",
                words::short(&image.hash),
                words::size(image.bytes)
            ));
        }
        ImageCommand::Export { file } => {
            let request = ImageExportRequest { file: app.surroundings.directory.join(file) };
            let file: PathBuf = app.stream(Route::new("/v1/images/export"), &request).await?;
            out.note(&format!(
                "The image is written. On the other host: ringfence image build --from {}",
                file.display()
            ));
        }
        ImageCommand::Remove { image } => {
            let images: Vec<ImageView> = app.get(Route::new("/v1/images")).await?;
            let hash = &only(&images, &image)?.hash;
            app.delete(Route::new("/v1/images").segment(hash)).await?;
            out.note(&format!("Image {} is removed.", words::short(hash)));
        }
    }
    Ok(DONE)
}

/// The one image whose hash starts like this.
fn only<'a>(images: &'a [ImageView], start: &str) -> Result<&'a ImageView> {
    let mut found = images.iter().filter(|image| image.hash.starts_with(start));
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(image),
        (None, _) => Err(usage(format!("there is no image {start}")).hint("ringfence image list")),
        (Some(_), Some(_)) => Err(usage(format!("more than one image starts with {start}"))
            .hint("type more of its hash: ringfence image list --json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::error::ErrorKind;

    #[test]
    fn an_image_is_named_by_enough_of_its_hash() {
        let image = |hash: &str| ImageView {
            hash: hash.into(),
            description: String::new(),
            bytes: 0,
            built: jiff::Timestamp::UNIX_EPOCH,
            used_by: Vec::new(),
            current: false,
        };
        let images = [image("abc1"), image("abd2")];
        assert_eq!(only(&images, "abd").map(|image| image.hash.as_str()), Ok("abd2"));
        assert_eq!(only(&images, "ab").expect_err("two").kind, ErrorKind::Usage);
        assert_eq!(only(&images, "x").expect_err("none").kind, ErrorKind::Usage);
    }
}
