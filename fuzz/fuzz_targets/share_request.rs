//! Root in a machine sends requests of its own making to the share: none reaches what is hidden,
//! protected or outside of the folder, and none makes the share fail.
#![no_main]

use libfuzzer_sys::{fuzz_target, Corpus};
use ringfence_share::raw::{bound_files, Guest, Lab};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    bound_files().expect("a limit to the size of files");
    let place = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let lab = Lab::new(place.path()).expect("a folder");
    Guest::new(&lab).play(bytes);
    let broken = lab.broken();
    assert!(broken.is_empty(), "{broken}");
    Corpus::Keep
});
