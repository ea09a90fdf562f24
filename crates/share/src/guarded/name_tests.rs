//! Hidden and protected names in front of a real folder: what a guest asks for, in every way
//! that leads to a name.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use ringfence_model::admit::ShownNames;
use ringfence_model::folder::NameRules;
use virtiofsd::filesystem::DirectoryIterator;

use super::tests::{ROOT, context, errno, guarded_names};
use super::*;
use crate::beneath::Names;
use crate::control::Control;

const WRONLY: u32 = 1;
const TRUNC: u32 = 0o1000;

struct Lab {
    temp: tempfile::TempDir,
    fs: Guarded,
}

impl Lab {
    /// `.env` anywhere and what is in `secrets` are hidden; `*.lock` and the hooks protected.
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        for directory in ["secrets/deep", "a/b/c", "git/hooks", "plain"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in [
            ".env",
            "a/b/c/.env",
            "a/b/c/.key",
            "secrets/key",
            "my.lock",
            "git/hooks/pre-commit",
            "plain/file",
            "seen",
        ] {
            fs::write(at(file), file).unwrap();
        }
        fs::hard_link(at(".env"), at("alias")).unwrap();
        fs::hard_link(at("my.lock"), at("lock-alias")).unwrap();
        let all = |patterns: &[&str]| -> Vec<_> {
            patterns.iter().map(|text| text.parse().unwrap()).collect()
        };
        let own = NameRules {
            hide: all(&[".env", "/secrets/**", "/a/b/c/.key"]),
            protect: all(&["*.lock", "/git/hooks/**"]),
        };
        let names = Names::new(&ShownNames { own, ..ShownNames::default() }).unwrap();
        let fs = guarded_names(temp.path(), names);
        fs.folder.look_for_links().unwrap();
        Self { temp, fs }
    }

    fn id(&self, path: &str) -> u64 {
        path.split('/').fold(ROOT, |parent, name| {
            let name = CString::new(name).unwrap();
            let found = self.fs.lookup(context(), parent, &name).unwrap().inode;
            assert_ne!(found, 0, "{path}");
            found
        })
    }

    fn listed(&self, directory: u64) -> Vec<String> {
        let handle = self.fs.opendir(context(), directory, 0).unwrap().0.unwrap();
        let mut entries = self.fs.readdir(context(), directory, handle, 8192, 0).unwrap();
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            names.push(entry.name.to_str().unwrap().to_owned());
        }
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }

    fn on_host(&self) -> Vec<(String, String)> {
        fn walk(root: &Path, at: &Path, found: &mut Vec<(String, String)>) {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    found.push((name, String::new()));
                    walk(root, &path, found);
                } else {
                    found.push((name, fs::read_to_string(&path).unwrap()));
                }
            }
        }
        let mut found = Vec::new();
        walk(self.temp.path(), self.temp.path(), &mut found);
        found.sort();
        found
    }
}

#[test]
fn hidden_names_and_their_other_names_do_not_exist() {
    let lab = Lab::new();
    assert_eq!(lab.listed(ROOT), ["a", "git", "lock-alias", "my.lock", "plain", "secrets", "seen"]);
    assert_eq!(lab.listed(lab.id("secrets")), [] as [&str; 0]);
    assert_eq!(lab.listed(lab.id("a/b/c")), [] as [&str; 0]);
    let gone = |parent, name: &CStr| lab.fs.lookup(context(), parent, name).unwrap().inode;
    for (parent, name) in [
        (ROOT, c".env"),
        (ROOT, c"alias"),
        (lab.id("a/b/c"), c".env"),
        (lab.id("secrets"), c"key"),
        (lab.id("secrets"), c"deep"),
    ] {
        assert_eq!(gone(parent, name), 0, "{name:?}");
    }
}

#[test]
fn a_hidden_name_is_found_by_where_its_directory_is_and_not_by_what_was_said_of_it() {
    let lab = Lab::new();
    let (a, b, c) = (lab.id("a"), lab.id("a/b"), lab.id("a/b/c"));
    // It stays reachable by its descriptor when the guest forgets what lies above it.
    assert_eq!(lab.fs.lookup(context(), c, c"none").unwrap().inode, 0);
    lab.fs.forget(context(), b, 100);
    lab.fs.forget(context(), a, 100);
    assert_eq!(lab.fs.lookup(context(), c, c".key").unwrap().inode, 0);
    assert_eq!(lab.listed(c), [] as [&str; 0]);
}

/// Everything that would make, remove, move, replace or change a name that must not be.
#[test]
fn nothing_reaches_or_changes_what_is_hidden_or_protected() {
    let lab = Lab::new();
    let before = lab.on_host();
    let (fs, none) = (&lab.fs, Extensions::default);
    let (secrets, hooks, plain) = (lab.id("secrets"), lab.id("git/hooks"), lab.id("plain"));
    let (seen, lock, alias) = (lab.id("seen"), lab.id("my.lock"), lab.id("lock-alias"));
    let hook = lab.id("git/hooks/pre-commit");
    let size = SetattrIn { size: 0, ..SetattrIn::default() };
    let mode = SetattrIn { mode: 0o777, ..SetattrIn::default() };
    let refused = |what: &str, answer: Option<Errno>, expected: &[Errno]| {
        assert!(answer.is_some_and(|errno| expected.contains(&errno)), "{what}: {answer:?}");
    };
    let perm = &[Errno::PERM][..];
    for (parent, name) in [
        (ROOT, c".env"),
        (secrets, c"new"),
        (ROOT, c"new.lock"),
        (hooks, c"post-commit"),
        (ROOT, c"my.lock"),
    ] {
        let what = format!("{name:?}");
        let made = fs.create(context(), parent, name, 0o644, false, WRONLY, 0, none());
        refused(&what, errno(made), perm);
        refused(&what, errno(fs.mkdir(context(), parent, name, 0o755, 0, none())), perm);
        refused(&what, errno(fs.mknod(context(), parent, name, 0o100_644, 0, 0, none())), perm);
        refused(&what, errno(fs.symlink(context(), c"t", parent, name, none())), perm);
        refused(&what, errno(fs.link(context(), seen, parent, name)), perm);
        refused(&what, errno(fs.rename(context(), ROOT, c"seen", parent, name, 0)), perm);
        refused(&what, errno(fs.rename(context(), ROOT, c"seen", parent, name, 2)), perm);
    }
    let absent = &[Errno::NOENT][..];
    for (parent, name) in [(ROOT, c".env"), (ROOT, c"alias"), (secrets, c"key")] {
        refused("unlink", errno(fs.unlink(context(), parent, name)), absent);
        refused("move", errno(fs.rename(context(), parent, name, plain, c"x", 0)), absent);
        refused("exchange", errno(fs.rename(context(), parent, name, ROOT, c"seen", 2)), absent);
    }
    refused("over an alias", errno(fs.rename(context(), ROOT, c"seen", ROOT, c"alias", 0)), absent);
    for (parent, name) in [(ROOT, c"my.lock"), (hooks, c"pre-commit")] {
        refused("unlink", errno(fs.unlink(context(), parent, name)), perm);
        refused("move", errno(fs.rename(context(), parent, name, plain, c"x", 0)), perm);
    }
    for file in [lock, alias, hook] {
        refused("open", errno(fs.open(context(), file, false, WRONLY)), perm);
        refused("truncate", errno(fs.open(context(), file, false, TRUNC)), perm);
        refused("size", errno(fs.setattr(context(), file, size, None, SetattrValid::SIZE)), perm);
        refused("mode", errno(fs.setattr(context(), file, mode, None, SetattrValid::MODE)), perm);
        let flags = SetxattrFlags::empty();
        refused("attribute", errno(fs.setxattr(context(), file, c"user.a", b"1", 0, flags)), perm);
        refused("another name", errno(fs.link(context(), file, plain, c"x")), perm);
        fs.open(context(), file, false, 0).unwrap();
    }
    let busy = &[Errno::BUSY][..];
    for (parent, name) in [
        (ROOT, c"a"),
        (ROOT, c"secrets"),
        (ROOT, c"git"),
        (lab.id("a"), c"b"),
        (lab.id("git"), c"hooks"),
    ] {
        refused("parent", errno(fs.rename(context(), parent, name, plain, c"x", 0)), busy);
        refused("parent", errno(fs.rename(context(), ROOT, c"plain", parent, name, 2)), busy);
        refused("rmdir", errno(fs.rmdir(context(), parent, name)), busy);
    }
    assert_eq!(lab.on_host(), before);
}

#[test]
fn everything_else_is_as_it_was() {
    let lab = Lab::new();
    let (fs, none) = (&lab.fs, Extensions::default);
    let plain = lab.id("plain");
    fs.create(context(), plain, c"env", 0o644, false, WRONLY, 0, none()).unwrap();
    fs.rename(context(), plain, c"env", ROOT, c"env", 0).unwrap();
    fs.rename(context(), ROOT, c"plain", lab.id("a"), c"plain", 0).unwrap();
    fs.open(context(), lab.id("seen"), false, WRONLY | TRUNC).unwrap();
    fs.unlink(context(), ROOT, c"seen").unwrap();
    fs.mkdir(context(), lab.id("git"), c"objects", 0o755, 0, none()).unwrap();
    fs.rmdir(context(), lab.id("git"), c"objects").unwrap();
    assert_eq!(lab.listed(ROOT), ["a", "env", "git", "lock-alias", "my.lock", "secrets"]);
}

/// While a share is closed somebody may have made another name of a hidden file on the host.
#[test]
fn other_names_of_what_is_hidden_are_looked_for_before_a_share_opens() {
    let lab = Lab::new();
    let control = Control { gate: Arc::clone(&lab.fs.gate), folder: Arc::clone(&lab.fs.folder) };
    let set = |mode: &str| {
        let answer = control.answer(format!("{{\"set\":\"{mode}\"}}").as_bytes());
        assert_eq!(answer["mode"], mode, "{answer}");
    };
    set("closed");
    fs::hard_link(lab.temp.path().join("a/b/c/.env"), lab.temp.path().join("plain/later")).unwrap();
    set("rw");
    let plain = lab.id("plain");
    assert_eq!(lab.fs.lookup(context(), plain, c"later").unwrap().inode, 0);
    assert_eq!(lab.listed(plain), ["file"]);
}

/// A folder in the folder, about which another rule says more.
#[test]
fn a_directory_that_another_rule_keeps_does_not_exist_or_is_only_to_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    for directory in ["work/nda/deep", "docs/api", "plain"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for file in ["work/nda/deep/plan", "work/nda2", "docs/api/index", "plain/file"] {
        fs::write(at(file), file).unwrap();
    }
    fs::hard_link(at("work/nda/deep/plan"), at("plain/copy")).unwrap();
    let names = Names::new(&ShownNames {
        hidden: ["work/nda".into()].into(),
        read_only: ["docs".into()].into(),
        ..ShownNames::default()
    });
    let lab = Lab { fs: guarded_names(temp.path(), names.unwrap()), temp };
    lab.fs.folder.look_for_links().unwrap();
    let (fs, none) = (&lab.fs, Extensions::default);
    let before = lab.on_host();
    let (work, docs, plain) = (lab.id("work"), lab.id("docs"), lab.id("plain"));
    assert_eq!(lab.listed(work), ["nda2"]);
    assert_eq!(lab.listed(plain), ["file"]);
    // What is there and what is not is answered alike.
    for name in [c"nda", c"never"] {
        assert_eq!(fs.lookup(context(), work, name).unwrap().inode, 0, "{name:?}");
        assert_eq!(errno(fs.unlink(context(), work, name)), Some(Errno::NOENT), "{name:?}");
        assert_eq!(errno(fs.rmdir(context(), work, name)), Some(Errno::NOENT), "{name:?}");
        let moved = fs.rename(context(), work, name, plain, c"x", 0);
        assert_eq!(errno(moved), Some(Errno::NOENT), "{name:?}");
    }
    let made = fs.mkdir(context(), work, c"nda", 0o755, 0, none());
    assert_eq!(errno(made), Some(Errno::PERM));
    assert_eq!(errno(fs.rename(context(), ROOT, c"work", ROOT, c"x", 0)), Some(Errno::BUSY));
    // Read and not changed, at any depth.
    let api = lab.id("docs/api");
    assert_eq!(lab.listed(api), ["index"]);
    for parent in [docs, api] {
        let made = fs.create(context(), parent, c"new", 0o644, false, WRONLY, 0, none());
        assert_eq!(errno(made), Some(Errno::PERM));
    }
    assert_eq!(
        errno(fs.open(context(), lab.id("docs/api/index"), false, WRONLY)),
        Some(Errno::PERM)
    );
    assert_eq!(errno(fs.rename(context(), ROOT, c"docs", ROOT, c"x", 0)), Some(Errno::PERM));
    assert_eq!(lab.on_host(), before);
}
