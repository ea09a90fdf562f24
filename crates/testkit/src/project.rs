//! A project as people have it lying around, and its comparison with a reference.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Fills a directory with what a backup must not lose: hidden and empty things, links, modes,
/// names that are no text.
///
/// # Errors
/// Any error of the file system.
pub fn make(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("src"))?;
    fs::create_dir_all(root.join("empty/inner"))?;
    fs::write(root.join("src/main.rs"), "fn main() {}\n")?;
    fs::write(root.join(".env"), "PASSWORD=1\n")?;
    fs::set_permissions(root.join(".env"), fs::Permissions::from_mode(0o600))?;
    fs::write(root.join("with space\nand newline"), "x")?;
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "not UTF-8")?;
    fs::hard_link(root.join(".env"), root.join("second-name"))?;
    symlink("src/main.rs", root.join("link"))?;
    symlink("/nowhere", root.join("dangling"))?;
    fs::set_permissions(root.join("empty/inner"), fs::Permissions::from_mode(0o500))
}

/// A copy to compare with, made by `cp -a`.
///
/// # Errors
/// When `cp` is missing or fails.
pub fn reference(of: &Path, to: &Path) -> io::Result<()> {
    run("cp", &["-a".as_ref(), of.as_os_str(), to.as_os_str()]).map(drop)
}

/// What `rsync` would change to make `b` like `a`, in content, mode, owner, time, links and
/// attributes; empty when they are identical.
///
/// # Errors
/// When `rsync` is missing or fails.
pub fn differences(a: &Path, b: &Path) -> io::Result<String> {
    let (a, b) = (a.join(""), b.join(""));
    run("rsync", &["-aHAXnci".as_ref(), "--delete".as_ref(), a.as_os_str(), b.as_os_str()])
}

#[expect(clippy::disallowed_methods, reason = "tests compare with programs that are not ours")]
fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let words = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{program}: {words}")))
    }
}
