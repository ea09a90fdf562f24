//! Random operations by several threads against the guarded folder, with the keeper
//! as the real process that it is; share or keeper is killed at a random moment.
//! Then every version that was complete must still be somewhere: in the folder, or
//! kept, byte for byte.
//!
//! Both processes are this test binary again: `share_child` and `keeper_child` do
//! nothing when they run as tests.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use ringfence_testkit::random::Random;
use serde_json::json;

use super::kept_tests::{Source, kept_contents};
use super::tests::{ROOT, context, guarded_with};
use super::*;
use crate::keep::Keeper;

const PLACE: &str = "RINGFENCE_TEST_KILL_PLACE";
const SEED: &str = "RINGFENCE_TEST_KILL_SEED";
const THREADS: u64 = 3;
const NAMES: u64 = 5;
const WRONLY: u32 = 1;
const TRUNC: u32 = 0o1000;
const APPEND: u32 = 0o2000;

#[expect(clippy::disallowed_methods, reason = "how a test tells itself what to be")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Content that no other number has, also in its first bytes.
fn content(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let words = 2 + random.below(600);
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..words).flat_map(|_| random.next().to_le_bytes()));
    bytes
}

fn name(random: &mut Random) -> CString {
    CString::new(format!("f{}", random.below(NAMES))).unwrap()
}

/// A file of its own for each content, so that what is complete is known: written
/// under a private name, closed, and then moved to where the threads fight.
fn complete(fs: &Guarded, random: &mut Random, thread: u64, log: &Mutex<fs::File>) {
    let number = random.next();
    let bytes = content(number);
    let private = CString::new(format!("new-{thread}")).unwrap();
    let target = name(random);
    let none = Extensions::default();
    // What an earlier one left: every content in it has been noted as complete, or never was.
    let _ = fs.unlink(context(), ROOT, &private);
    let Ok((entry, Some(handle), _)) =
        fs.create(context(), ROOT, &private, 0o644, false, WRONLY, 0, none)
    else {
        return;
    };
    let write = |data: &[u8], at: u64| {
        let size = u32::try_from(data.len()).unwrap();
        fs.write(context(), entry.inode, handle, Source(data), size, at, None, false, false, 0)
    };
    let half = bytes.len() / 2;
    write(&bytes[..half], 0).unwrap();
    write(&bytes[half..], half as u64).unwrap();
    fs.release(context(), entry.inode, 0, handle, false, false, None).unwrap();
    writeln!(log.lock().unwrap(), "{number}").unwrap();
    let _ = fs.rename(context(), ROOT, &private, ROOT, &target, 0);
}

/// Destroys whatever is there, in one of the ways there are.
fn destroy(fs: &Guarded, random: &mut Random) {
    let target = name(random);
    let way = random.below(7);
    if way == 0 {
        let _ = fs.unlink(context(), ROOT, &target);
        return;
    }
    let Ok(entry) = fs.lookup(context(), ROOT, &target) else { return };
    if entry.inode == 0 {
        return;
    }
    let id = entry.inode;
    if way == 1 {
        let size = SetattrIn { size: random.below(64), ..SetattrIn::default() };
        let _ = fs.setattr(context(), id, size, None, SetattrValid::SIZE);
        return;
    }
    if way == 6 {
        let _ = fs.link(context(), id, ROOT, &name(random));
        return;
    }
    let flags = match way {
        2 => WRONLY | TRUNC,
        3 => WRONLY | APPEND,
        _ => WRONLY,
    };
    let Ok((Some(handle), _)) = fs.open(context(), id, false, flags) else { return };
    let at = random.below(200);
    if way == 4 {
        // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
        let _ = fs.fallocate(context(), id, handle, 3, at, 4096);
    } else {
        for step in 0..random.below(3) {
            let data = [0xee; 24];
            let at = at + step * 24;
            let call = context();
            let _ = fs.write(call, id, handle, Source(&data), 24, at, None, false, false, flags);
        }
    }
    let _ = fs.release(context(), id, 0, handle, false, false, None);
}

#[test]
fn share_child() {
    let Some(place) = variable(PLACE).map(PathBuf::from) else { return };
    let seed: u64 = variable(SEED).unwrap().parse().unwrap();
    let keeper = Keeper::connect(&place.join("keep"), 2).unwrap();
    let (fs, _) = guarded_with(&place.join("folder"), Chown::Pretend, Some(keeper));
    let log = OpenOptions::new().append(true).create(true).open(place.join("log")).unwrap();
    let log = Mutex::new(log);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (fs, log) = (&fs, &log);
            scope.spawn(move || {
                let mut random = Random(seed ^ thread);
                loop {
                    if random.below(2) == 0 {
                        complete(fs, &mut random, thread, log);
                    } else {
                        destroy(fs, &mut random);
                    }
                }
            });
        }
    });
}

#[test]
fn keeper_child() {
    if variable(PLACE).is_some() {
        // Nobody reads what the test harness would say.
        let code = crate::keeper::run();
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
}

#[expect(clippy::disallowed_methods, reason = "this test binary again, to be killed")]
fn child(test: &str, place: &Path, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([&format!("guarded::kill_tests::{test}"), "--exact", "--nocapture"])
        .env(PLACE, place)
        .env(SEED, seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A process that does not outlive the test.
pub(super) struct Running(Child);

impl Running {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn start_keeper(place: &Path) -> Running {
    let mut command = child("keeper_child", place, 0);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let spec = json!({
        "folder": place.join("folder"),
        "store": place.join("kept"),
        "socket": place.join("keep"),
        "control_socket": place.join("ctl"),
        "quota": 1u64 << 32,
    });
    process.stdin.take().unwrap().write_all(spec.to_string().as_bytes()).unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let process = Running(process);
    // The test harness talks as well.
    let ready = lines.map(Result::unwrap).find(|line| line.starts_with('{')).unwrap();
    assert!(ready.contains("ready"), "{ready}");
    let mut control = std::os::unix::net::UnixStream::connect(place.join("ctl")).unwrap();
    control.write_all(b"{\"begin\":\"s-1\"}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(control).read_line(&mut answer).unwrap();
    assert!(answer.contains("s-1"), "{answer}");
    process
}

/// Every content that is to be had, by its number.
fn found(place: &Path) -> HashMap<u64, Vec<Vec<u8>>> {
    let live = fs::read_dir(place.join("folder"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let mut by_number: HashMap<u64, Vec<Vec<u8>>> = HashMap::new();
    for bytes in live.chain(kept_contents(&place.join("kept"))) {
        if let Some(number) = bytes.first_chunk::<8>() {
            by_number.entry(u64::from_le_bytes(*number)).or_default().push(bytes);
        }
    }
    by_number
}

/// One life of a share and its keeper; how many complete versions it made.
fn round(seed: u64) -> usize {
    let mut random = Random(seed);
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path();
    fs::create_dir(place.join("folder")).unwrap();
    fs::create_dir(place.join("kept")).unwrap();
    let mut keeper = start_keeper(place);
    let mut share = Running(child("share_child", place, seed).spawn().unwrap());
    let log = place.join("log");
    while fs::metadata(&log).map_or(0, |facts| facts.len()) == 0 {
        assert!(share.0.try_wait().unwrap().is_none(), "the share ended, seed {seed}");
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_micros(random.below(300_000)));
    if random.below(2) == 0 {
        share.kill();
        // What it had sent is still written down.
        assert!(keeper.0.wait().unwrap().success(), "seed {seed}");
    } else {
        keeper.kill();
        // A share without a keeper changes nothing any more, and ends.
        assert_eq!(share.0.wait().unwrap().code(), Some(3), "seed {seed}");
    }
    let found = found(place);
    let text = fs::read_to_string(&log).unwrap();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let number: u64 = line.trim().parse().unwrap();
        let want = content(number);
        // What was only added to is the beginning of what stands there.
        let have = found.get(&number).is_some_and(|all| all.iter().any(|c| c.starts_with(&want)));
        assert!(have, "a complete version of {} bytes is lost, seed {seed}", want.len());
    }
    text.lines().count()
}

#[test]
fn whatever_is_killed_every_complete_version_can_be_had_back() {
    let seconds = if variable("RINGFENCE_SOAK").is_some() { 600 } else { 20 };
    #[expect(clippy::disallowed_methods, reason = "a seed that differs; it is printed")]
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let first = variable("RINGFENCE_TEST_SEED").and_then(|seed| seed.parse().ok());
    let first: u64 = first.unwrap_or(time.as_nanos() as u64);
    println!("first seed {first} (RINGFENCE_TEST_SEED repeats it)");
    let begun = Instant::now();
    let (mut rounds, mut versions) = (0, 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        versions += round(first.wrapping_add(rounds));
        rounds += 1;
    }
    println!("{rounds} rounds, {versions} complete versions");
    assert!(versions > 100, "hardly anything happened");
}
