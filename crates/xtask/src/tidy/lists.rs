//! Lists that must be complete: a file that a reader cannot find is lost.

use super::rules::LISTED;
use super::{File, Report};

pub(super) fn check(files: &[File], report: &mut Report) {
    for listed in LISTED {
        let list = files
            .iter()
            .find(|file| file.path == listed.list)
            .map_or("", |file| file.text.as_str());
        for file in files {
            let Some(name) = file.path.strip_prefix(listed.directory) else { continue };
            if file.path != listed.list && !list.contains(name) {
                report.violations.push(format!("{} is not named in {}", file.path, listed.list));
            }
        }
    }
}
