//! Second copies, recovery and keys as a person reads them. Pure.

use jiff::{Timestamp, Zoned};
use ringfence_model::api::{BackupKeyView, RecoverView};
use ringfence_model::bytes::visible;
use ringfence_model::status::CopyStatus;

use super::style::{Paint, Style};
use super::table::{maybe, table as render, text};
use super::words;

/// Snapshots that `recover --list` shows.
const SHOWN: usize = 50;

/// Every copy of a folder.
#[must_use]
pub fn table(copies: &[CopyStatus], now: Timestamp, style: &Style) -> String {
    let rows = copies
        .iter()
        .map(|copy| {
            vec![
                text(visible(&copy.target)),
                maybe(copy.last.map(|last| words::ago(last, now))),
                text(copy.behind.to_string()),
                maybe(copy.error.as_deref().map(visible)),
            ]
        })
        .collect();
    render(style, &["COPY", "UP TO DATE", "BEHIND", "ERROR"], rows)
}

/// One line about a copy, for the status of its folder.
#[must_use]
pub fn line(copy: &CopyStatus, now: Timestamp, style: &Style) -> String {
    let target = visible(&copy.target);
    let age = match copy.last {
        Some(last) => format!("up to date {}", words::ago(last, now)),
        None => "not made yet".to_owned(),
    };
    let behind = match copy.behind {
        0 => String::new(),
        _ => format!(", {} behind", words::count(copy.behind, "snapshot")),
    };
    match &copy.error {
        Some(error) => {
            style.paint(Paint::Bad, &format!("{target}: {age}{behind}: {}", visible(error)))
        }
        None => format!("{target}: {age}{behind}"),
    }
}

/// What a copy holds.
#[must_use]
pub fn listed(view: &RecoverView, now: &Zoned, style: &Style) -> String {
    let rows = view
        .snapshots
        .iter()
        .take(SHOWN)
        .map(|snapshot| {
            vec![
                text(words::short(&snapshot.id)),
                text(local(snapshot.time, now)),
                maybe(snapshot.kind.map(|kind| kind.word().to_owned())),
                text(snapshot.files.to_string()),
                text(words::size(snapshot.bytes)),
            ]
        })
        .collect();
    let count = words::count(view.snapshots.len() as u64, "snapshot");
    let head = format!("{}: {count} of {}\n", visible(&view.copy), style.path(&view.folder));
    head + &render(style, &["SNAPSHOT", "TIME", "KIND", "FILES", "SIZE"], rows)
}

fn local(time: Timestamp, now: &Zoned) -> String {
    time.to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// What a recovery did, and what to do next.
#[must_use]
pub fn recovered(view: &RecoverView, style: &Style) -> String {
    let Some(snapshot) = &view.restored else { return String::new() };
    let to = style.path(&view.to);
    let done = format!(
        "{to} is {} as it was in snapshot {}: {}, {}.",
        style.path(&view.folder),
        words::short(&snapshot.id),
        words::count(snapshot.files, "file"),
        words::size(snapshot.bytes)
    );
    let argument = style.argument(&view.to);
    let next = if view.registered {
        format!(
            "It is protected from now on, with its history: ringfence history {argument}\n\
             To go on copying it, name the place of its copy in the configuration: {}",
            visible(&view.copy)
        )
    } else {
        format!("It is not protected. To protect it: ringfence folder add {argument}")
    };
    format!("{done}\n{next}")
}

/// The page to print: all that is needed to get a folder back without this computer.
#[must_use]
pub fn sheet(view: &BackupKeyView, now: &Zoned) -> String {
    let folder = visible(&view.folder.display().to_string());
    let vault = view.vault.display().to_string();
    let mut text = format!(
        "RINGFENCE RECOVERY SHEET\n\
         \n\
         Folder   {folder}\n\
         Vault    {}\n\
         Id       {}\n\
         Printed  {}\n\
         \n\
         Key      {}\n\
         Check    {}\n\
         \n\
         Without this key nobody can read the backup, also not its owner. With it anybody can who\n\
         gets at the vault or a copy. Keep this page away from this computer.\n\
         \n\
         The key's letters are abcdefghjkmnpqrstuvwxyz023456789: no i, no l, no o, no 1. The check word shows\n\
         whether it was copied rightly.\n",
        visible(&vault),
        view.id,
        now.strftime("%Y-%m-%d"),
        view.key,
        view.check_word,
    );
    text.push_str("\nTo get the folder back on any computer");
    if view.copies.is_empty() {
        text.push_str(
            ":\n\n    ringfence backup recover VAULT --to DIR\n\n\
             where VAULT is a copy of the directory above. There is NO second copy: if this computer's disk\n\
             is lost, so is the backup. To have one: [folder.backup] copy = [\"/mnt/disk/copies\"]\n",
        );
    } else {
        text.push_str(", from its second copy:\n\n");
        for copy in &view.copies {
            text.push_str(&format!("    ringfence backup recover {} --to DIR\n", visible(copy)));
        }
        text.push_str("\nThe store's own login is needed as well, if it has one.\n");
    }
    text.push_str(
        "\nWithout Ringfence, with restic (https://restic.net), which asks for the key:\n\n",
    );
    let places = std::iter::once(vault.as_str()).chain(view.copies.iter().map(String::as_str));
    for place in places {
        text.push_str(&format!("    restic -r {} restore latest --target DIR\n", visible(place)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::name::FolderId;

    fn now() -> Zoned {
        "2026-11-25T14:00:00+01:00[Europe/Berlin]".parse().expect("a time")
    }

    #[test]
    fn the_sheet_says_all_that_is_needed() {
        let mut view = BackupKeyView {
            key: "abcde-fghjk-mnpqr-stuvw-xyz02-34567-89abc-defgh".into(),
            check_word: "badiko".into(),
            folder: "/home/ann/sh\u{1b}op".into(),
            id: FolderId::new("shop-1a2b3c4d").expect("id"),
            vault: "/home/ann/.local/state/ringfence/vaults/shop-1a2b3c4d".into(),
            copies: vec!["sftp:nas:/backup/shop-1a2b3c4d".into()],
        };
        let with = sheet(&view, &now());
        view.copies.clear();
        let without = sheet(&view, &now());
        insta::assert_snapshot!(format!("{with}\n--------\n{without}"));
    }

    #[test]
    fn copies_are_listed_with_their_age() {
        let copy = CopyStatus {
            target: "/mnt/disk/shop-1".into(),
            last: Some("2026-11-25T12:30:00Z".parse().expect("time")),
            age_seconds: Some(1800),
            behind: 2,
            error: Some("no\u{1b} room".into()),
        };
        let fresh =
            CopyStatus { last: None, age_seconds: None, behind: 0, error: None, ..copy.clone() };
        let (now, style) = (now().timestamp(), Style::plain());
        let lines = [line(&copy, now, &style), line(&fresh, now, &style)].join("\n");
        insta::assert_snapshot!(format!("{}\n{lines}", table(&[copy, fresh], now, &style)));
    }
}
