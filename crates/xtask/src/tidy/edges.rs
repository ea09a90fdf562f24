//! Which crate may depend on which, read from the manifests.

use toml::Table;

use super::rules::{CLOSED_CRATES, OWNED_DEPENDENCIES};
use super::{File, Report};

pub(super) fn check(files: &[File], report: &mut Report) {
    for file in files.iter().filter(|file| is_member_manifest(&file.path)) {
        let Ok(manifest) = file.text.parse::<Table>() else {
            report.violations.push(format!("{}: is not valid TOML", file.path));
            continue;
        };
        let package = manifest.get("package").and_then(|package| package.get("name"));
        let Some(name) = package.and_then(|name| name.as_str()) else {
            report.violations.push(format!("{}: has no package name", file.path));
            continue;
        };
        for dependency in shipped_dependencies(&manifest) {
            check_edge(name, &dependency, report);
        }
    }
}

fn check_edge(name: &str, dependency: &str, report: &mut Report) {
    for closed in CLOSED_CRATES.iter().filter(|closed| closed.name == name) {
        if !closed.only.contains(&dependency) {
            report.violations.push(format!(
                "{name} may not depend on {dependency}: its list of dependencies is closed"
            ));
        }
    }
    for owned in OWNED_DEPENDENCIES.iter().filter(|owned| owned.name == dependency) {
        if !owned.owners.contains(&name) {
            report.violations.push(format!(
                "{name} may not depend on {dependency}: only {:?} may",
                owned.owners
            ));
        }
    }
}

fn is_member_manifest(path: &str) -> bool {
    path.starts_with("crates/") && path.ends_with("/Cargo.toml")
}

/// Names of all dependencies but those of tests, of every target, by their real
/// package name.
fn shipped_dependencies(manifest: &Table) -> Vec<String> {
    let mut tables = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(|targets| targets.as_table()) {
        tables.extend(targets.values().filter_map(|target| target.as_table()));
    }
    let mut names = Vec::new();
    for table in tables {
        for key in ["dependencies", "build-dependencies"] {
            let Some(dependencies) =
                table.get(key).and_then(|dependencies| dependencies.as_table())
            else {
                continue;
            };
            for (name, value) in dependencies {
                let renamed = value.get("package").and_then(|package| package.as_str());
                names.push(renamed.unwrap_or(name).to_owned());
            }
        }
    }
    names
}
