//! The host's extra certificate authorities.
//!
//! Owns: finding what the host trusts beyond its distribution's own list, as in companies
//! whose HTTPS passes a proxy with its own authority. Without them npm and pip fail inside a
//! machine. Must not: decide who trusts them; they are data.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Where hosts keep authorities that their owner added.
const DIRECTORIES: [&str; 3] = [
    "/usr/local/share/ca-certificates",
    "/etc/pki/ca-trust/source/anchors",
    "/etc/ca-certificates/trust-source/anchors",
];

/// The distribution's list, in which certificates that a variable points at may be contained.
const BUNDLES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The host's extra authorities, each in PEM. `named` are files that the environment names
/// (`SSL_CERT_FILE`, `NODE_EXTRA_CA_CERTS`): of those, only what the host's own list lacks counts.
#[must_use]
pub fn host_authorities(named: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        let mut files = Vec::new();
        collect(Path::new(directory), &mut files, 0);
        files.sort();
        for file in files {
            found.extend(blocks(&text(&file)));
        }
    }
    let own: HashSet<String> =
        BUNDLES.iter().flat_map(|bundle| blocks(&text(Path::new(bundle)))).collect();
    for file in named {
        found.extend(blocks(&text(file)).into_iter().filter(|block| !own.contains(block)));
    }
    let mut seen = HashSet::new();
    found.retain(|block| seen.insert(block.clone()));
    found
}

/// The host's whole list, for fetching something on the host's behalf.
#[must_use]
pub fn host_bundle() -> Option<PathBuf> {
    BUNDLES.iter().map(PathBuf::from).find(|bundle| bundle.is_file())
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>, depth: u8) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && depth < 3 {
            collect(&path, files, depth + 1);
        } else if path.extension().is_some_and(|kind| kind == "crt" || kind == "pem") {
            files.push(path);
        }
    }
}

/// The certificates in a text, each with a final newline and nothing around.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let Some(length) = rest[begin..].find(END) else { break };
        let end = begin + length + END.len();
        let lines: Vec<&str> = rest[begin..end].lines().map(str::trim).collect();
        found.push(format!("{}\n", lines.join("\n")));
        rest = &rest[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_cut_out_of_any_text() {
        let text = format!("# a comment\r\n{BEGIN}\r\nAAAA\r\n{END}\r\nmore\n{BEGIN}\nBBBB\n{END}");
        let found = blocks(&text);
        assert_eq!(found, [format!("{BEGIN}\nAAAA\n{END}\n"), format!("{BEGIN}\nBBBB\n{END}\n")]);
        assert!(blocks(&format!("{BEGIN}\nnever ends")).is_empty());
    }

    #[test]
    fn a_named_file_adds_what_the_host_lacks_once() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("extra.pem");
        let block = format!("{BEGIN}\nRINGFENCETEST\n{END}\n");
        std::fs::write(&file, format!("{block}{block}")).expect("written");
        let found = host_authorities(&[file.clone(), file]);
        assert_eq!(found.iter().filter(|one| **one == block).count(), 1);
    }
}
