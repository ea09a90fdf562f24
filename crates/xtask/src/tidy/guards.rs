//! The table of guards still fits the sources: it cannot rot unseen between two runs of
//! `cargo xtask guards`.

use std::collections::BTreeMap;

use super::{File, Report};
use crate::guards::table::{FILE, Table};

pub(super) fn check(files: &[File], report: &mut Report) {
    let Some(file) = files.iter().find(|file| file.path == FILE) else { return };
    let sources: BTreeMap<String, String> =
        files.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
    match Table::read(&file.text) {
        Ok(table) => {
            let problems = table.problems(&sources);
            report.violations.extend(problems.into_iter().map(|text| format!("{FILE}: {text}")));
        }
        Err(error) => report.violations.push(error),
    }
}
