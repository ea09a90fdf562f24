//! Names the recipes that ship, from the directories of `recipes/`: a new agent is a directory,
//! not code. Only the names; the daemon embeds the rest.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

#[expect(
    clippy::disallowed_methods,
    reason = "Cargo tells a build script its paths by the environment"
)]
fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let recipes = fs::canonicalize(variable("CARGO_MANIFEST_DIR")?.join("../../recipes"))?;
    let mut shipped = Vec::new();
    for entry in fs::read_dir(&recipes)? {
        let entry = entry?;
        let Ok(text) = fs::read_to_string(entry.path().join("recipe.toml")) else { continue };
        let profile = text
            .lines()
            .find_map(|line| line.strip_prefix("profile = \"")?.strip_suffix('"'))
            .ok_or_else(|| io::Error::other(format!("{}: no profile", entry.path().display())))?;
        shipped.push((entry.file_name().to_string_lossy().into_owned(), profile.to_owned()));
    }
    shipped.sort();
    let mut table = String::from("&[\n");
    for (recipe, profile) in shipped {
        // Writing into a String cannot fail.
        let _ = writeln!(table, "    Shipped {{ recipe: {recipe:?}, profile: {profile:?} }},");
    }
    table.push_str("]\n");
    let rerun = format!("cargo::rerun-if-changed={}\n", recipes.display());
    io::Write::write_all(&mut io::stdout(), rerun.as_bytes())?;
    fs::write(variable("OUT_DIR")?.join("shipped.rs"), table)
}
