//! `ringfence show SNAPSHOT PATH`

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ringfence_model::bytes::{encode, visible};
use ringfence_model::history::{EntryKind, ShowView};

use super::DONE;
use crate::app::App;
use crate::args::{FolderArgs, JsonArgs};
use crate::client::Route;
use crate::client::lines::Lines;
use crate::error::{Result, usage};
use crate::output::{entries, pager, words};

/// Arguments of `show`.
#[derive(Debug, Args)]
#[command(
    after_help = "A file is printed byte for byte; on a terminal without what would move its cursor.\nA directory is listed."
)]
pub struct ShowArgs {
    /// The snapshot: `latest`, the first digits of its id, a time, or `before session ID`
    pub snapshot: String,
    /// The file or directory
    pub path: PathBuf,
    /// Print what is known about the path, as JSON, instead of its content
    #[command(flatten)]
    pub json: JsonArgs,
    /// The folder.
    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Prints it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &ShowArgs) -> Result<u8> {
    let snapshot = app.state(&args.snapshot).await?.ok_or_else(|| {
        usage("`now` is no snapshot; the file itself is in the folder").hint("ringfence history")
    })?;
    let root = app.folder_of(args.folder.folder.as_deref(), Some(&args.path)).await?;
    let path = app.relative(&root, &args.path)?.to_path().unwrap_or_default();
    let route = |noun: &str, snapshot: &str| {
        Route::new(noun)
            .query_path("folder", &root)
            .query("snapshot", snapshot)
            .query("path_b64", &encode(path.as_os_str().as_bytes()))
    };
    let view: ShowView = app.get(route("/v1/entry", &snapshot)).await?;
    if args.json.json {
        app.out.json_object(&view)?;
        return Ok(DONE);
    }
    match (view.entry.kind, &view.entries) {
        // Asked for by its full id: the bytes are of the snapshot that was looked at.
        (EntryKind::File, _) => {
            print_file(app, &route("/v1/show", &view.snapshot.id), &args.path).await?;
        }
        (EntryKind::Directory, Some(list)) => {
            let zone = app.surroundings.now.time_zone();
            let text = entries::render(list, zone, &app.out.style);
            pager::page(&app.out, app.surroundings.pager.as_deref(), &text)?;
        }
        _ => {
            let one = std::slice::from_ref(&view.entry);
            let zone = app.surroundings.now.time_zone();
            app.out.print(&entries::render(one, zone, &app.out.style))?;
        }
    }
    Ok(DONE)
}

/// Prints a file: into a pipe the bytes as they are, on a terminal what moves no cursor.
async fn print_file(app: &App, route: &Route, path: &Path) -> Result<()> {
    let out = &app.out;
    if !out.stdout_is_terminal() {
        return app.interruptible(app.client.bytes(route, |bytes| out.write(bytes))).await;
    }
    let (mut lines, mut length, mut binary) = (Lines::default(), 0, false);
    let print = app.client.bytes(route, |bytes| {
        length += bytes.len() as u64;
        binary = binary || bytes.contains(&0);
        if binary {
            return Ok(());
        }
        lines.push(bytes);
        while let Some(line) = lines.next_line() {
            out.print(&safe_line(&line))?;
        }
        Ok(())
    });
    app.interruptible(print).await?;
    if binary {
        out.say(&format!(
            "{} is binary ({}), which is nothing for a terminal: write it to a file with `> FILE`",
            out.error_style.path(path),
            words::size(length)
        ));
        return Ok(());
    }
    if lines.rest().is_empty() { Ok(()) } else { out.print(&safe_line(lines.rest())) }
}

/// One line of hostile bytes: tabs stay, everything else that moves a cursor is made visible.
fn safe_line(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.split('\t').map(visible).collect::<Vec<_>>().join("\t");
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_file_moves_no_cursor() {
        assert_eq!(safe_line(b"a\tb\x1b[2J\r\xff"), "a\tb\\u{1b}[2J\\r\u{fffd}\n");
    }
}
