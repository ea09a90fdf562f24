//! Embeds every directory of `recipes/`: a new agent is a directory, not code.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[expect(
    clippy::disallowed_methods,
    reason = "Cargo tells a build script its paths by the environment"
)]
fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let recipes = variable("CARGO_MANIFEST_DIR")?.join("../../recipes");
    let table = variable("OUT_DIR")?.join("recipes.rs");
    let recipes = fs::canonicalize(recipes)?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&recipes)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if recipes.join(&name).join("recipe.toml").is_file() {
            names.push(name);
        }
    }
    names.sort();
    let mut text = String::from("&[\n");
    for name in names {
        let include = |file: &str| include(&recipes.join(&name).join(file));
        let (recipe, install) = (include("recipe.toml"), include("install.sh"));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "    ({name:?}, {recipe}, {install}),");
    }
    text.push_str("]\n");
    let mut out = io::stdout();
    io::Write::write_all(
        &mut out,
        format!("cargo::rerun-if-changed={}\n", recipes.display()).as_bytes(),
    )?;
    fs::write(table, text)
}

fn include(file: &Path) -> String {
    format!("include_str!({:?})", file.display().to_string())
}
