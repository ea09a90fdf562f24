//! The first run in a folder that Ringfence does not know: five lines and a question.

use std::path::Path;

use ringfence_model::api::FolderLookup;
use ringfence_model::error::{ApiError, ErrorKind};

use crate::app::App;
use crate::error::Result;
use crate::output::style::Style;

/// Explains what is about to happen to a folder that Ringfence does not know, and asks.
///
/// # Errors
/// Refused where nobody can be asked.
pub async fn agrees(app: &App, lookup: &FolderLookup) -> Result<bool> {
    let style = &app.out.error_style;
    if !app.out.can_ask() {
        let shown = style.path(&lookup.canonical);
        return Err(ApiError::new(
            ErrorKind::Refused,
            format!(
                "{shown} is not under protection yet, and nobody can be asked without a terminal"
            ),
        )
        .hint("ringfence run --yes …")
        .hint(format!("ringfence folder add {}", style.argument(&lookup.canonical))));
    }
    app.out.say(&explanation(lookup, &app.surroundings.layout.config_file(), style));
    app.ask("Go on?").await
}

/// The five lines. Pure.
fn explanation(lookup: &FolderLookup, config: &Path, style: &Style) -> String {
    let inside = if lookup.guest_path == lookup.canonical {
        "under the same path".to_owned()
    } else {
        format!("as {}", style.path(&lookup.guest_path))
    };
    format!(
        "{folder} is new to Ringfence. This will happen:\n\
         \x20 1. All of it is copied into a vault below {vaults}, which no machine can reach; later snapshots add only changes.\n\
         \x20 2. The agent runs in a virtual machine of its own and sees this folder there ({inside}), and nothing else of yours.\n\
         \x20 3. What it writes or deletes there is written and deleted here, at once; snapshots are taken before, while and after.\n\
         \x20 4. `ringfence diff` shows what it changed; `ringfence undo` puts it all back, and can be undone.\n\
         \x20 5. `ringfence folder set` changes who may see it (kept in {config}); `ringfence folder remove` forgets it.",
        folder = style.path(&lookup.canonical),
        vaults = style.path(&lookup.vaults),
        config = style.path(config),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_contact_says_what_will_happen() {
        let style = Style { home: Some("/home/ann".into()), ..Style::plain() };
        let mut lookup = FolderLookup {
            registered: None,
            canonical: "/home/ann/code/shop".into(),
            guest_path: "/home/ann/code/shop".into(),
            vaults: "/home/ann/.local/state/ringfence/vaults".into(),
        };
        let config = Path::new("/home/ann/.config/ringfence/config.toml");
        insta::assert_snapshot!("first_contact", explanation(&lookup, config, &style));
        lookup.guest_path = "/folders/shop".into();
        assert!(explanation(&lookup, config, &style).contains("as /folders/shop"));
    }
}
