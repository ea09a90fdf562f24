//! Listing one directory of a vault. Owns which names count, and that a list taken while
//! a writer replaces files lacks nothing that was there all the time.

use std::fs;
use std::io;
use std::path::Path;

use rustic_core::Id;

/// A directory that changes during each of so many listings is taken as it was seen last.
const LISTINGS: usize = 10;

/// Lists until two lists in a row are the same. A list is not taken at one moment: of a file
/// and the one that comes in its place before it goes, a single list may show neither. What
/// two equal lists both lack was not there when the second one began.
pub(super) fn settled<T: Ord>(mut list: impl FnMut() -> io::Result<Vec<T>>) -> io::Result<Vec<T>> {
    let mut sorted = || {
        let mut listed = list()?;
        listed.sort_unstable();
        io::Result::Ok(listed)
    };
    let mut last = sorted()?;
    for _ in 1..LISTINGS {
        let next = sorted()?;
        let same = next == last;
        last = next;
        if same {
            break;
        }
    }
    Ok(last)
}

/// Files named by a hash, with their lengths.
pub(super) fn list_into(dir: &Path, found: &mut Vec<(Id, u32)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Whatever is not named by a hash is not ours: restic's rule too.
        let Some(id) = entry.file_name().to_str().and_then(|n| n.parse::<Id>().ok()) else {
            continue;
        };
        let meta = match entry.metadata() {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if meta.is_file() {
            found.push((id, u32::try_from(meta.len()).unwrap_or(u32::MAX)));
        }
    }
    Ok(())
}

/// As [`list_into`], without lengths.
pub(super) fn names(dir: &Path) -> io::Result<Vec<Id>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|n| n.parse::<Id>().ok());
        if entry.file_type()?.is_file() {
            found.extend(id);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_lacks_both_the_old_and_the_new_is_taken_again() {
        // The new file came behind the reader, the old one went before it.
        let mut seen = [vec![1, 2], vec![2], vec![3, 2], vec![2, 3], vec![9]].into_iter();
        let listed = settled(|| Ok(seen.next().unwrap())).unwrap();
        assert_eq!(listed, [2, 3]);
        let mut restless = 0..;
        let listed = settled(|| Ok(restless.next().into_iter().collect())).unwrap();
        assert_eq!(listed, [LISTINGS - 1]);
    }
}
