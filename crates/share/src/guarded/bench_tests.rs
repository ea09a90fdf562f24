//! What the journal costs: the same operations with and without a keeper, by turns, straight
//! against the guarded folder. Not a test: it is run by name, and prints ratios.
//!
//!     cargo nextest run -p ringfence-share --run-ignored only --no-capture keeping_costs

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::kept_tests::Source;
use super::kill_tests::{Running, start_keeper};
use super::tests::{ROOT, context, guarded_with};
use super::*;
use crate::keep::Keeper;

const FILES: u32 = 20_000;
const REWRITTEN: u32 = 500;
const ROUNDS: usize = 3;
const WRONLY: u32 = 1;

fn name(number: u32) -> CString {
    CString::new(format!("file-with-a-usual-name-{number}.rs")).unwrap()
}

fn put(fs: &Guarded, open: (u64, u64), data: &[u8], at: u64) {
    let size = u32::try_from(data.len()).unwrap();
    let source = Source(data);
    fs.write(context(), open.0, open.1, source, size, at, None, false, false, 0).unwrap();
}

fn make(fs: &Guarded, name: &CStr) -> (u64, u64) {
    let none = Extensions::default();
    let made = fs.create(context(), ROOT, name, 0o644, false, WRONLY, 0, none).unwrap();
    (made.0.inode, made.1.unwrap())
}

fn close(fs: &Guarded, open: (u64, u64)) {
    fs.release(context(), open.0, 0, open.1, false, false, None).unwrap();
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// Durations of each kind of work.
fn measure(place: &Path, keeper: bool) -> [Duration; 4] {
    for directory in ["folder", "kept"] {
        fs::create_dir_all(place.join(directory)).unwrap();
    }
    let process: Option<Running> = keeper.then(|| start_keeper(place));
    let line = keeper.then(|| Keeper::connect(&place.join("keep"), 2).unwrap());
    let (fs, _) = guarded_with(&place.join("folder"), Chown::Pretend, line);
    let data = vec![7; 1 << 20];
    let create = timed(|| {
        for number in 0..FILES {
            let open = make(&fs, &name(number));
            put(&fs, open, &data[..2000], 0);
            close(&fs, open);
        }
    });
    let rewrite = timed(|| {
        for number in 0..REWRITTEN {
            let file = fs.lookup(context(), ROOT, &name(number)).unwrap().inode;
            let handle = fs.open(context(), file, false, WRONLY).unwrap().0.unwrap();
            put(&fs, (file, handle), &data[..100], 0);
            close(&fs, (file, handle));
        }
    });
    let unlink = timed(|| {
        for number in 0..FILES {
            fs.unlink(context(), ROOT, &name(number)).unwrap();
        }
    });
    let large = timed(|| {
        let open = make(&fs, c"large");
        for at in 0..1024 {
            put(&fs, open, &data, at << 20);
        }
        close(&fs, open);
    });
    drop(fs);
    drop(process);
    if keeper {
        let journal = place.join("kept/s-1").join(crate::journal::FILE);
        let bytes = fs::metadata(journal).unwrap().len();
        println!("journal: {} bytes an operation", bytes / u64::from(FILES * 4 + REWRITTEN * 2));
    }
    [create, rewrite, unlink, large]
}

#[test]
#[ignore = "a measurement, run by name"]
fn keeping_costs() {
    let mut with = Vec::new();
    let mut without = Vec::new();
    for _ in 0..ROUNDS {
        for (keeper, into) in [(false, &mut without), (true, &mut with)] {
            let temp = tempfile::tempdir().unwrap();
            into.push(measure(temp.path(), keeper));
        }
    }
    let works = [
        format!("create {FILES}"),
        format!("rewrite {REWRITTEN}"),
        format!("unlink {FILES}"),
        "write 1 GiB".to_owned(),
    ];
    for (at, work) in works.iter().enumerate() {
        let median = |all: &[[Duration; 4]]| {
            let mut sorted: Vec<Duration> = all.iter().map(|round| round[at]).collect();
            sorted.sort();
            sorted[sorted.len() / 2]
        };
        let (with, without) = (median(&with), median(&without));
        let ratio = without.as_secs_f64() / with.as_secs_f64();
        println!("{work}: without {without:.2?}, with {with:.2?}: {ratio:.2} of the speed");
    }
}
