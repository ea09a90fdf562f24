//! What stands in the sources: where processes are started, length, headers,
//! unfinished work, exceptions without a reason.

use super::rules::{HARD_LINES, PROCESS_STARTERS, SOFT_LINES, UNFINISHED};
use super::{File, Report};

pub(super) const STARTS_A_PROCESS: &str = concat!("Command", "::new(");

pub(super) fn check(files: &[File], report: &mut Report) {
    for file in files {
        if file.is_rust() {
            check_length(file, report);
            check_header(file, report);
            check_exceptions(file, report);
            check_processes(file, report);
        }
        if file.is_rust() || file.is_script() {
            check_unfinished(file, report);
        }
    }
}

fn check_length(file: &File, report: &mut Report) {
    let lines = file.product_text().lines().count();
    if file.is_test_only() || lines <= SOFT_LINES {
        return;
    }
    let text = format!("{}: {lines} lines, wanted at most {SOFT_LINES}", file.path);
    if lines > HARD_LINES {
        report.violations.push(text);
    } else {
        report.notes.push(text);
    }
}

fn check_header(file: &File, report: &mut Report) {
    let first = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !file.is_test_only() && !first.is_some_and(|line| line.starts_with("//!")) {
        report
            .violations
            .push(format!("{}: has no `//!` header that says what it owns", file.path));
    }
}

/// Every exception to a lint gives its reason, and is one that is taken back by
/// the compiler when it is no longer needed (`expect`, not `allow`).
fn check_exceptions(file: &File, report: &mut Report) {
    for (number, line) in numbered(&file.text) {
        let code = line.trim_start();
        if code.starts_with("#[allow(") || code.starts_with("#![allow(") {
            report
                .violations
                .push(format!("{}:{number}: `allow`: write `expect` with a reason", file.path));
        }
        let exception = code.starts_with("#[expect(") || code.starts_with("#![expect(");
        if exception && !attribute_at(&file.text, number).contains("reason") {
            report
                .violations
                .push(format!("{}:{number}: an exception without a reason", file.path));
        }
    }
}

fn check_processes(file: &File, report: &mut Report) {
    if file.is_test_only() || PROCESS_STARTERS.iter().any(|(path, _)| *path == file.path) {
        return;
    }
    for (number, line) in numbered(file.product_text()) {
        if !line.trim_start().starts_with("//") && line.contains(STARTS_A_PROCESS) {
            report.violations.push(format!(
                "{}:{number}: starts a process, but is not one of the files that may",
                file.path
            ));
        }
    }
}

fn check_unfinished(file: &File, report: &mut Report) {
    for (number, line) in numbered(&file.text) {
        for mark in UNFINISHED.iter().filter(|mark| line.contains(**mark)) {
            report
                .violations
                .push(format!("{}:{number}: `{mark}`: finish it or file an issue", file.path));
        }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The attribute that starts at line `number` (from 1): up to the line that closes it.
fn attribute_at(text: &str, number: usize) -> String {
    let mut attribute = String::new();
    for line in text.lines().skip(number - 1) {
        attribute.push_str(line);
        if line.trim_end().ends_with(")]") {
            break;
        }
    }
    attribute
}
