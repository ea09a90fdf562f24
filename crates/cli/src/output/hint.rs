//! What a folder says about itself in `.ringfence.toml`, in lines.

use std::path::Path;

use ringfence_model::bytes::visible;
use ringfence_model::config::{HINT_FILE, HintStanding, HintStatus, HintView};

use super::style::Style;

/// What would be approved.
#[must_use]
pub fn shown(view: &HintView, folder: &Path, style: &Style) -> String {
    let file = style.path(&folder.join(HINT_FILE));
    let before = view.before.as_deref();
    if !view.present {
        return match before {
            None => format!("There is no {file}, and none was approved."),
            Some(before) => {
                format!(
                    "There is no {file} any more. What you approved of it would end:\n{}",
                    lines(before)
                )
            }
        };
    }
    let mut out = format!("{file} can only make rules stricter. It says:\n{}", lines(&view.says));
    if !view.unknown.is_empty() {
        out.push_str(&format!(
            "\nNo profile here is named or labelled so: {}",
            visible(&view.unknown.join(", "))
        ));
    }
    match before {
        Some(before) if before == view.says => out.push_str("\nThat counts already."),
        Some(before) => {
            out.push_str(&format!("\nIn place of what you approved before:\n{}", lines(before)));
        }
        None => {}
    }
    out
}

/// What `folder show` says about it.
#[must_use]
pub fn status(hint: &HintStatus, folder: &Path, style: &Style) -> String {
    let mut out = String::new();
    if let Some(sentence) = hint.sentence() {
        let command = format!("ringfence folder approve {} --hint", style.argument(folder));
        out.push_str(&format!("{}: {command}\n", visible(&sentence)));
    }
    if hint.snapshot.is_some() {
        let state =
            if hint.standing == HintStanding::InForce { "" } else { ", as you approved it" };
        out.push_str(&format!("from its {HINT_FILE}{state}:\n{}\n", lines(&hint.says)));
    }
    out
}

fn lines(says: &[String]) -> String {
    if says.is_empty() {
        return "  nothing".into();
    }
    says.iter().map(|line| format!("  {}", visible(line))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_what_counts_and_what_would() {
        let style = Style { home: Some("/home/ann".into()), ..Style::plain() };
        let folder = Path::new("/home/ann/my shop");
        let mut view = HintView {
            snapshot: "0123".into(),
            present: true,
            says: vec!["deny: codex, mallory\u{1b}[2J".into(), "network: offline".into()],
            before: None,
            unknown: vec!["mallory\u{1b}[2J".into()],
            applied: false,
        };
        let mut told = vec![shown(&view, folder, &style)];
        view.before = Some(Vec::new());
        told.push(shown(&view, folder, &style));
        view.before = Some(view.says.clone());
        told.push(shown(&view, folder, &style));
        view.present = false;
        told.push(shown(&view, folder, &style));
        view.before = None;
        told.push(shown(&view, folder, &style));
        let mut hint = HintStatus {
            standing: HintStanding::New,
            snapshot: None,
            says: Vec::new(),
            error: Some("line 2: unknown key `profils`; did you mean `profiles`?".into()),
        };
        told.push(status(&hint, folder, &style));
        (hint.error, hint.snapshot, hint.says) =
            (None, Some("0123".into()), vec!["access: ro".into()]);
        for standing in [HintStanding::InForce, HintStanding::Changed, HintStanding::Gone] {
            hint.standing = standing;
            told.push(status(&hint, folder, &style));
        }
        insta::assert_snapshot!(told.join("\n--\n"));
    }
}
