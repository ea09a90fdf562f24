//! With the kernel's own events, on real directories.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use super::*;

struct Lab {
    top: tempfile::TempDir,
    folder: PathBuf,
    told: Arc<Notify>,
    budget: Arc<Budget>,
}

impl Lab {
    fn new(directories: &[&str]) -> Self {
        let top = tempfile::tempdir().expect("directory");
        let folder = top.path().join("folder");
        fs::create_dir(&folder).expect("made");
        for directory in directories {
            fs::create_dir_all(folder.join(directory)).expect("made");
        }
        let budget = Arc::new(Budget::new(100_000));
        Self { top, folder, told: Arc::new(Notify::new()), budget }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn root(&self) -> Root {
        let facts = fs::metadata(&self.folder).expect("facts");
        Root { path: self.folder.clone(), device: facts.dev(), inode: facts.ino() }
    }

    fn start(&self) -> Watcher {
        let budget = Arc::clone(&self.budget);
        Watcher::start(self.root(), budget, Arc::clone(&self.told)).expect("started")
    }

    /// Watching, and everything that the start left dirty taken.
    async fn watching(&self) -> Watcher {
        let watcher = self.start();
        self.until(&watcher, |view| view.mode != Mode::Starting).await;
        assert!(watcher.take(false).await.is_everything(), "nobody knows what was before");
        watcher
    }

    async fn until(&self, watcher: &Watcher, holds: impl Fn(&View) -> bool) -> View {
        let wait = async {
            loop {
                let view = watcher.view();
                if holds(&view) {
                    return view;
                }
                self.told.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes to hold")
    }
}

fn entries(dirty: &Dirty) -> Vec<String> {
    dirty.entries().iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

fn whole(dirty: &Dirty) -> Vec<String> {
    dirty.whole().iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

#[tokio::test]
async fn every_kind_of_change_is_heard_and_no_kind_of_reading() {
    let lab = Lab::new(&["a/b", "c"]);
    for file in ["a/b/written", "a/mode", "c/removed", "c/renamed", "c/read"] {
        fs::write(lab.at(file), "before").expect("written");
    }
    let watcher = lab.watching().await;
    assert_eq!(lab.until(&watcher, |_| true).await.mode, Mode::Watching);
    assert!(watcher.take(true).await.is_clean());
    fs::read(lab.at("c/read")).expect("read");
    fs::read_dir(&lab.folder).expect("listed").for_each(drop);
    assert!(watcher.take(true).await.is_clean(), "reading is no change");
    fs::write(lab.at("a/b/written"), "after").expect("written");
    fs::set_permissions(lab.at("a/mode"), fs::Permissions::from_mode(0o600)).expect("mode");
    fs::remove_file(lab.at("c/removed")).expect("removed");
    fs::rename(lab.at("c/renamed"), lab.at("c/new name")).expect("renamed");
    symlink("nowhere", lab.at("link")).expect("link");
    let odd = std::ffi::OsStr::from_bytes(b"odd\n\xff");
    fs::write(lab.at("a").join(odd), "x").expect("written");
    let dirty = watcher.take(false).await;
    let expected = [
        "a/b/written",
        "a/mode",
        "a/odd\n\u{fffd}",
        "c/new name",
        "c/removed",
        "c/renamed",
        "link",
    ];
    assert_eq!(entries(&dirty), expected);
    assert!(dirty.entries().contains(&b"a/odd\n\xff"[..]));
    assert!(watcher.take(false).await.is_clean());
    watcher.put_back(dirty.clone());
    assert_eq!(watcher.take(false).await, dirty);
}

#[tokio::test]
async fn what_happens_in_directories_that_came_or_moved_is_heard() {
    let lab = Lab::new(&["a/b/c", "d"]);
    let watcher = lab.watching().await;
    fs::create_dir_all(lab.at("new/deep")).expect("made");
    fs::write(lab.at("new/deep/at once"), "x").expect("written");
    fs::rename(lab.at("a/b"), lab.at("d/moved")).expect("moved");
    let mut dirty = watcher.take(false).await;
    assert!(dirty.covers(b"new/deep/at once") && dirty.covers(b"d/moved/c/x"), "{dirty:?}");
    assert!(dirty.covers(b"a/b"));
    // Until the new directories are watched they count as changed whole.
    while !dirty.is_clean() {
        dirty = watcher.take(false).await;
    }
    fs::write(lab.at("new/deep/later"), "x").expect("written");
    fs::write(lab.at("d/moved/c/file"), "x").expect("written");
    let dirty = watcher.take(false).await;
    assert_eq!(entries(&dirty), ["d/moved/c/file", "new/deep/later"], "{dirty:?}");
}

#[tokio::test]
async fn what_left_the_folder_is_not_listened_to() {
    let lab = Lab::new(&["a/b"]);
    symlink(lab.top.path(), lab.at("link")).expect("link");
    let watcher = lab.watching().await;
    let outside = lab.top.path().join("outside");
    fs::rename(lab.at("a"), &outside).expect("moved");
    fs::write(lab.top.path().join("beside"), "x").expect("written");
    let mut dirty = watcher.take(false).await;
    assert_eq!(entries(&dirty), ["a"]);
    // A directory of the same name must not be taken for the one that left.
    fs::create_dir_all(lab.at("a/b")).expect("made");
    while !dirty.is_clean() {
        dirty = watcher.take(false).await;
    }
    fs::write(outside.join("b/file"), "x").expect("written");
    assert!(watcher.take(false).await.is_clean());
    fs::write(lab.at("a/b/file"), "x").expect("written");
    assert_eq!(entries(&watcher.take(false).await), ["a/b/file"]);
    assert_eq!(lab.budget.used.load(Ordering::Relaxed), 3, "the root, a, and b");
}

#[tokio::test]
async fn short_of_watches_the_large_and_cold_are_polled_and_it_is_said() {
    let mut lab = Lab::new(&["src/one", "src/two"]);
    for number in 0..50 {
        fs::create_dir_all(lab.at("modules").join(number.to_string())).expect("made");
    }
    lab.budget = Arc::new(Budget::new(20));
    let watcher = lab.watching().await;
    let left = vec!["modules".to_owned()];
    let view = lab.until(&watcher, |view| view.mode != Mode::Starting).await;
    assert_eq!(view.mode, Mode::Partly { left, why: NoWatch::Watches });
    fs::write(lab.at("modules/7/unheard"), "x").expect("written");
    fs::write(lab.at("src/one/heard"), "x").expect("written");
    let dirty = watcher.take(false).await;
    assert_eq!((entries(&dirty), whole(&dirty)), (vec!["src/one/heard".into()], vec![]));
    assert_eq!(whole(&watcher.take(true).await), ["modules"], "polling looks at what is left");
    assert!(lab.budget.used.load(Ordering::Relaxed) <= 20);
    drop(watcher);
    lab.budget = Arc::new(Budget::new(0));
    let watcher = lab.start();
    let view = lab.until(&watcher, |view| view.mode != Mode::Starting).await;
    assert_eq!(view.mode, Mode::Polling(NoWatch::Watches));
    assert!(watcher.take(false).await.is_everything());
}

#[tokio::test]
async fn a_folder_that_goes_away_is_lost_and_found_again() {
    let lab = Lab::new(&["a"]);
    let root = lab.root();
    let watcher = lab.watching().await;
    let aside = lab.top.path().join("aside");
    fs::rename(&lab.folder, &aside).expect("moved");
    let lost = Mode::Lost(RootLost::Missing);
    lab.until(&watcher, |view| view.mode == lost).await;
    assert!(watcher.take(false).await.is_everything());
    fs::create_dir(&lab.folder).expect("another");
    watcher.begin_again();
    lab.until(&watcher, |view| view.mode == Mode::Lost(RootLost::Another)).await;
    fs::remove_dir(&lab.folder).expect("removed");
    fs::rename(&aside, &lab.folder).expect("moved back");
    assert_eq!(root, lab.root());
    watcher.begin_again();
    lab.until(&watcher, |view| view.mode == Mode::Watching).await;
    watcher.take(false).await;
    fs::write(lab.at("a/file"), "x").expect("written");
    assert_eq!(entries(&watcher.take(false).await), ["a/file"]);
}

#[tokio::test]
async fn a_watcher_that_ends_gives_everything_back() {
    let lab = Lab::new(&["a/b/c"]);
    let watcher = lab.watching().await;
    assert_eq!(lab.budget.used.load(Ordering::Relaxed), 4);
    let shared = Arc::downgrade(&watcher.shared);
    drop(watcher);
    let ended = async {
        while shared.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("its thread ends");
    assert_eq!(lab.budget.used.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_watcher_whose_thread_is_gone_claims_nothing() {
    let lab = Lab::new(&["a"]);
    let watcher = lab.watching().await;
    drop(Ends(Arc::clone(&watcher.shared)));
    assert!(matches!(watcher.view().mode, Mode::Polling(NoWatch::Refused(_))));
    assert!(watcher.take(false).await.is_everything(), "nobody waits for it");
}
