//! The guard against mass loss in front of a real folder with a real keeper: what it halts
//! has not happened, and what somebody agreed to does.

use std::ffi::CString;
use std::fs;
use std::thread;

use super::kept_tests::{Lab, write};
use super::tests::{ROOT, context};
use super::*;
use crate::mass_loss::{Reaction, Watch};
use crate::ops::Mode;

const TRUNC: u32 = 0o1000;
const WRONLY: u32 = 1;

fn watch(lab: &Lab, files: u64, reaction: Reaction) {
    lab.fs().folder.watch_losses(Some(Watch { files, window: 60_000, reaction }));
}

fn name(number: usize) -> CString {
    CString::new(format!("f{number}")).unwrap()
}

/// A folder with so many files, in which so many losses are too many.
fn lab(there: usize, files: u64) -> Lab {
    let lab = Lab::new();
    for number in 0..there {
        fs::write(lab.folder().join(format!("f{number}")), "precious").unwrap();
    }
    watch(&lab, files, Reaction::Freeze);
    lab
}

fn left(lab: &Lab) -> usize {
    fs::read_dir(lab.folder()).unwrap().count()
}

fn until_waiting(fs: &Guarded) {
    while fs.gate.status().waiting == 0 {
        thread::yield_now();
    }
}

/// As the daemon does it.
fn resume(fs: &Guarded) {
    fs.folder.agree_to_loss();
    fs.gate.thaw();
}

#[test]
fn a_removal_of_everything_halts_and_goes_on_when_somebody_agrees() {
    let lab = lab(20, 5);
    thread::scope(|scope| {
        let removal = scope.spawn(|| {
            for number in 0..20 {
                lab.fs().unlink(context(), ROOT, &name(number)).unwrap();
            }
        });
        until_waiting(lab.fs());
        assert_eq!(left(&lab), 16);
        let alarm = lab.fs().folder.alarm().unwrap();
        assert_eq!((alarm.files, alarm.reaction), (5, Reaction::Freeze));
        // Neither does anything else go on, nor does a mode of the daemon's change that.
        let look =
            scope.spawn(|| lab.fs().lookup(context(), ROOT, c"f19").map(|entry| entry.inode));
        while lab.fs().gate.status().waiting < 2 {
            thread::yield_now();
        }
        lab.fs().gate.set(Mode::Rw, || {}).unwrap();
        assert_eq!((left(&lab), lab.fs().gate.status().in_flight), (16, 0));
        resume(lab.fs());
        removal.join().unwrap();
        look.join().unwrap().unwrap();
    });
    assert_eq!((left(&lab), lab.fs().folder.alarm()), (0, None));
}

#[test]
fn several_at_once_lose_no_more_than_one_alone() {
    let lab = lab(40, 10);
    thread::scope(|scope| {
        for worker in 0..4 {
            let lab = &lab;
            scope.spawn(move || {
                for number in (worker..40).step_by(4) {
                    if lab.fs().unlink(context(), ROOT, &name(number)).is_err() {
                        return;
                    }
                }
            });
        }
        while lab.fs().gate.status().waiting < 4 {
            thread::yield_now();
        }
        assert_eq!(left(&lab), 31);
        lab.fs().gate.set(Mode::Ro, || {}).unwrap();
    });
    assert_eq!(left(&lab), 31, "what waited was refused");
}

/// One way to destroy what is in `f0`, whose number is `file`.
type Way = fn(&Guarded, u64) -> io::Result<()>;

const WAYS: [(&str, Way); 8] = [
    ("unlink", |fs, _| fs.unlink(context(), ROOT, c"f0")),
    ("rename over", |fs, _| fs.rename(context(), ROOT, c"f1", ROOT, c"f0", 0)),
    ("open to truncate", |fs, file| fs.open(context(), file, false, WRONLY | TRUNC).map(drop)),
    ("create what is there", |fs, _| {
        let none = Extensions::default();
        fs.create(context(), ROOT, c"f0", 0o644, false, WRONLY | TRUNC, 0, none).map(drop)
    }),
    ("truncate", |fs, file| {
        let to = SetattrIn { size: 2, ..SetattrIn::default() };
        fs.setattr(context(), file, to, None, SetattrValid::SIZE).map(drop)
    }),
    ("write", |fs, file| {
        let handle = fs.open(context(), file, false, WRONLY)?.0.unwrap();
        write(fs, (file, handle), b"x", (0, 0)).map(drop)
    }),
    ("punch a hole", |fs, file| {
        let handle = fs.open(context(), file, false, WRONLY)?.0.unwrap();
        fs.fallocate(context(), file, handle, 3, 0, 4)
    }),
    ("copy a range into", |fs, file| {
        let from = fs.lookup(context(), ROOT, c"f1")?.inode;
        let reads = fs.open(context(), from, false, 0)?.0.unwrap();
        let handle = fs.open(context(), file, false, WRONLY)?.0.unwrap();
        fs.copyfilerange(context(), from, reads, 0, file, handle, 0, 3, 0).map(drop)
    }),
];

#[test]
fn each_way_to_destroy_a_file_is_halted_before_it_does() {
    for (what, destroy) in WAYS {
        let mut lab = lab(2, 1);
        fs::write(lab.folder().join("f1"), "another").unwrap();
        let file = lab.id("f0");
        thread::scope(|scope| {
            let way = scope.spawn(|| destroy(lab.fs(), file));
            while lab.fs().gate.status().waiting == 0 {
                assert!(!way.is_finished(), "{what} was not halted");
                thread::yield_now();
            }
            assert_eq!(fs::read(lab.folder().join("f0")).unwrap(), b"precious", "{what}");
            lab.fs().gate.set(Mode::Ro, || {}).unwrap();
            let refused = way.join().unwrap().unwrap_err();
            assert_eq!(Errno::from_io_error(&refused), Some(Errno::ROFS), "{what}");
        });
        assert_eq!(fs::read(lab.folder().join("f0")).unwrap(), b"precious", "{what}");
        assert_eq!(left(&lab), 2, "{what}");
        let told = lab.journal();
        let lost = |record: &&crate::journal::Record| record.object != 0;
        assert_eq!(told.iter().filter(lost).count(), 0, "{what}: {told:?}");
    }
}

#[test]
fn what_destroys_nothing_of_others_never_halts() {
    let lab = lab(2, 1);
    let file = lab.id("f0");
    lab.rewrite(file, WRONLY | 0o2000, b" and more", 0);
    lab.rewrite(file, WRONLY, b" and more", 17);
    lab.fs().rename(context(), ROOT, c"f0", ROOT, c"moved", 0).unwrap();
    lab.fs().rename(context(), ROOT, c"f1", ROOT, c"moved", 2).unwrap();
    let none = Extensions::default;
    lab.fs().mkdir(context(), ROOT, c"d", 0o755, 0, none()).unwrap();
    lab.fs().rmdir(context(), ROOT, c"d").unwrap();
    for _ in 0..9 {
        let (own, handle, _) =
            lab.fs().create(context(), ROOT, c"own", 0o644, false, WRONLY, 0, none()).unwrap();
        write(lab.fs(), (own.inode, handle.unwrap()), b"x", (0, 0)).unwrap();
        lab.close((own.inode, handle.unwrap()));
        lab.rewrite(own.inode, WRONLY | TRUNC, b"yz", 0);
        lab.fs().symlink(context(), c"t", ROOT, c"other", none()).unwrap();
        lab.fs().rename(context(), ROOT, c"other", ROOT, c"own", 0).unwrap();
        lab.fs().unlink(context(), ROOT, c"own").unwrap();
    }
    assert_eq!(lab.fs().folder.alarm(), None);
}

#[test]
fn a_warning_is_told_and_stops_nothing() {
    let lab = lab(20, 5);
    watch(&lab, 5, Reaction::Warn);
    for number in 0..20 {
        lab.fs().unlink(context(), ROOT, &name(number)).unwrap();
    }
    assert_eq!(lab.fs().folder.alarm().unwrap().files, 20);
}

#[test]
fn regenerable_directories_count_once_and_only_where_they_are_that() {
    let many = |lab: &Lab, directory: &str| {
        fs::create_dir_all(lab.folder().join(directory)).unwrap();
        for number in 0..9 {
            fs::write(lab.folder().join(directory).join(number.to_string()), "x").unwrap();
        }
    };
    let empty = |lab: &Lab, directory: &str| {
        let parent = directory.split('/').fold(ROOT, |parent, name| {
            let name = CString::new(name).unwrap();
            lab.fs().lookup(context(), parent, &name).unwrap().inode
        });
        for number in 0..9 {
            let name = CString::new(number.to_string()).unwrap();
            lab.fs().unlink(context(), parent, &name).unwrap();
        }
    };
    let alarm = |lab: &Lab| lab.fs().folder.alarm().map(|alarm| alarm.files);
    let lab = Lab::new();
    for directory in ["node_modules/x", "rust/target/debug", "notes/target", "src"] {
        many(&lab, directory);
    }
    fs::write(lab.folder().join("rust/Cargo.toml"), "").unwrap();
    watch(&lab, 5, Reaction::Warn);
    empty(&lab, "node_modules/x");
    empty(&lab, "rust/target/debug");
    assert_eq!(alarm(&lab), None);
    // No program makes this one again: nothing beside it says so.
    watch(&lab, 5, Reaction::Warn);
    empty(&lab, "notes/target");
    assert_eq!(alarm(&lab), Some(9));
    // Nor does a name make sources regenerable.
    watch(&lab, 5, Reaction::Warn);
    lab.id("src");
    lab.fs().rename(context(), ROOT, c"src", lab.id("node_modules"), c"src", 0).unwrap();
    empty(&lab, "node_modules/src");
    assert_eq!(alarm(&lab), Some(9));
}
