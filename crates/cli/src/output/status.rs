//! The one status as text: what needs attention first, then what there is. Pure.

use jiff::Timestamp;
use ringfence_model::bytes::visible;
use ringfence_model::machine::MachineState;
use ringfence_model::session::{Exit, Session, SessionState};
use ringfence_model::status::{
    EngineStatus, FolderStatus, ForwardStatus, MachineStatus, Problem, Protection, Severity,
    ShareMode, Status, WatchMode, WatchStatus,
};

use super::style::{Paint, Style};
use super::table::{Entry, maybe, painted, table, text};
use super::words;

/// The whole status.
#[must_use]
pub fn render(status: &Status, now: Timestamp, style: &Style) -> String {
    let mut out = problems(&status.problems, style);
    out.push_str(&engine(&status.engine, style));
    if status.machines.is_empty() && status.folders.is_empty() && status.sessions.is_empty() {
        out.push_str("\nNothing here yet. Try, in a project: ringfence run claude\n");
        return out;
    }
    section(&mut out, "Folders", folders(&status.folders, now, style), style);
    section(&mut out, "Second copies", copies(&status.folders, now, style), style);
    section(&mut out, "Machines", machines(&status.machines, style), style);
    section(&mut out, "Sessions", sessions(&status.sessions, now, style), style);
    section(&mut out, "Forwards", forwards(&status.forwards, style), style);
    out
}

fn section(out: &mut String, title: &str, body: Option<String>, style: &Style) {
    if let Some(body) = body {
        out.push_str(&format!("\n{}\n{body}", style.paint(Paint::Strong, title)));
    }
}

fn problems(problems: &[Problem], style: &Style) -> String {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| problem.severity);
    let mut out = String::new();
    for problem in sorted {
        let label = match problem.severity {
            Severity::Error => style.paint(Paint::Bad, "problem:"),
            Severity::Warning => style.paint(Paint::Weak, "warning:"),
        };
        out.push_str(&format!("{label} {}\n", visible(&problem.message)));
        if let Some(command) = &problem.command {
            out.push_str(&format!("  next: {}\n", visible(command)));
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn engine(engine: &EngineStatus, style: &Style) -> String {
    let name = visible(&engine.name);
    match (&engine.version, engine.accelerator.as_deref()) {
        (None, _) => format!("{}\n", style.paint(Paint::Bad, &format!("Engine: {name} not found"))),
        (Some(version), accelerator) => {
            let speed = match accelerator {
                Some("tcg") => style.paint(Paint::Weak, "software emulation (slow)"),
                Some(other) => visible(other),
                None => "not measured yet".to_owned(),
            };
            format!("Engine: {name} {}, {speed}\n", visible(version))
        }
    }
}

/// The table of folders, the worst first; `None` where there is none.
#[must_use]
pub fn folders(folders: &[FolderStatus], now: Timestamp, style: &Style) -> Option<String> {
    let mut sorted: Vec<&FolderStatus> = folders.iter().collect();
    sorted.sort_by_key(|folder| {
        let rank = match folder.protection {
            Protection::Failing | Protection::Damaged => 0,
            Protection::Off => 1,
            Protection::NotYet => 2,
            Protection::Paused => 3,
            Protection::Protected => 4,
        };
        (rank, folder.path.clone())
    });
    let rows: Vec<Vec<Entry>> = sorted
        .into_iter()
        .map(|folder| {
            let profiles = match &folder.profiles {
                None => "every".to_owned(),
                Some(names) if names.is_empty() => "none".to_owned(),
                Some(names) => names.join(", "),
            };
            vec![
                text(style.path(&folder.path)),
                protection(folder, now, style),
                last_snapshot(folder, now),
                verified(folder, now),
                text(folder.access.to_string()),
                text(profiles),
            ]
        })
        .collect();
    let header = ["FOLDER", "PROTECTION", "LAST SNAPSHOT", "VERIFIED", "ACCESS", "PROFILES"];
    (!rows.is_empty()).then(|| table(style, &header, rows))
}

/// How well a folder is protected, in words and colour.
#[must_use]
pub fn protection(folder: &FolderStatus, now: Timestamp, style: &Style) -> Entry {
    match folder.protection {
        Protection::Protected => match &folder.watch {
            Some(watch) => protected(watch, now, style),
            None => painted(Paint::Good, "protected"),
        },
        Protection::NotYet => painted(Paint::Bad, "no snapshot yet"),
        Protection::Off => painted(Paint::Bad, off(folder)),
        Protection::Paused => {
            let until = folder.paused_until;
            let until = until.map(|time| format!(" until {}", time.strftime("%R UTC")));
            painted(Paint::Weak, format!("paused{}", until.unwrap_or_default()))
        }
        Protection::Failing => painted(
            Paint::Bad,
            folder.error.as_ref().map_or("failing".to_owned(), |error| format!("failing: {error}")),
        ),
        Protection::Damaged => painted(Paint::Bad, "DAMAGED"),
    }
}

/// Who turned it off and when, in so few words that a table has room for them.
fn off(folder: &FolderStatus) -> String {
    const OFF: &str = "OFF: not protected";
    let Some(act) = &folder.opt_out else { return OFF.to_owned() };
    let user = act.by.user.clone().or_else(|| act.by.uid.map(|uid| format!("uid {uid}")));
    let who = user.map_or_else(String::new, |user| format!("{user}, "));
    format!("{OFF} ({who}{})", act.at.strftime("%F"))
}

/// Until when, and what is known to wait.
fn protected(watch: &WatchStatus, now: Timestamp, style: &Style) -> Entry {
    let mut said = match watch.protected_until {
        Some(until) => format!("protected until {}", words::clock(until, now, style)),
        None => "protected".to_owned(),
    };
    let mut paint = Paint::Good;
    match &watch.mode {
        WatchMode::Watching | WatchMode::Lost { .. } => {}
        WatchMode::Starting => said.push_str(", starting to watch"),
        WatchMode::Partly { .. } | WatchMode::Polling { .. } => {
            paint = Paint::Weak;
            said.push_str(", polled");
        }
    }
    match watch.pending {
        _ if watch.busy => said.push_str(", being stored"),
        Some(0) => {}
        Some(pending) => {
            said.push_str(&format!(", {} to store", words::count(pending, "change")));
        }
        None if watch.mode == WatchMode::Watching => said.push_str(", catching up"),
        None => {}
    }
    if watch.shrunken.is_some() {
        paint = Paint::Bad;
        said.push_str(", most files are gone");
    }
    painted(paint, said)
}

fn last_snapshot(folder: &FolderStatus, now: Timestamp) -> Entry {
    match &folder.last_snapshot {
        None => painted(Paint::Bad, "never"),
        Some(last) => text(format!("{}, {}", words::short(&last.id), words::ago(last.time, now))),
    }
}

/// How old the newest snapshot is that is known to be good.
#[must_use]
pub fn verified(folder: &FolderStatus, now: Timestamp) -> Entry {
    let newest = folder.last_snapshot.as_ref().filter(|last| last.verified);
    match folder.health.as_ref().and_then(|health| health.verified.as_ref()) {
        Some(_) if newest.is_some() => painted(Paint::Good, "the last one"),
        Some(verified) => {
            text(format!("{}, {}", words::short(&verified.id), words::ago(verified.time, now)))
        }
        None => painted(Paint::Weak, "none yet"),
    }
}

/// One line for each second copy; `None` where there is none.
fn copies(folders: &[FolderStatus], now: Timestamp, style: &Style) -> Option<String> {
    let lines: Vec<String> = folders
        .iter()
        .flat_map(|folder| &folder.copies)
        .map(|copy| format!("{}\n", super::copies::line(copy, now, style)))
        .collect();
    (!lines.is_empty()).then(|| lines.concat())
}

/// The table of machines; `None` where there is none.
#[must_use]
pub fn machines(machines: &[MachineStatus], style: &Style) -> Option<String> {
    let rows: Vec<Vec<Entry>> = machines
        .iter()
        .map(|machine| {
            let shares: Vec<String> = machine
                .shares
                .iter()
                .map(|share| format!("{} ({})", style.path(&share.path), mode(share.mode)))
                .collect();
            vec![
                text(machine.name.to_string()),
                machine_state(machine),
                text(format!("{} × {}", machine.limits.cpus, machine.limits.memory)),
                maybe(machine.cpu_seconds.map(|seconds| words::duration(seconds as i64))),
                maybe(machine.memory_bytes.map(words::size)),
                maybe(machine.disk_bytes.map(words::size)),
                maybe(machine.recipe.as_ref()),
                maybe((!shares.is_empty()).then(|| shares.join(", "))),
            ]
        })
        .collect();
    let header = ["MACHINE", "STATE", "LIMITS", "CPU TIME", "MEMORY", "DISK", "RECIPE", "SHARES"];
    (!rows.is_empty()).then(|| {
        let mut out = table(style, &header, rows);
        let why = |machine: &MachineStatus| {
            let because = machine.because.as_ref()?;
            Some(vec![text(machine.name.to_string()), text(because)])
        };
        let reasons: Vec<Vec<Entry>> = machines.iter().filter_map(why).collect();
        if !reasons.is_empty() {
            out.push('\n');
            out.push_str(&table(style, &["MACHINE", "WHY IT IS USED"], reasons));
        }
        out
    })
}

fn machine_state(machine: &MachineStatus) -> Entry {
    let word = machine.state.word();
    let waiting = |word: &str| match &machine.waiting_for {
        Some(what) => format!("{word}: waiting for {what}"),
        None => word.to_owned(),
    };
    match &machine.state {
        MachineState::Running => painted(Paint::Good, word),
        MachineState::Failed { reason } | MachineState::Held { reason } => {
            painted(Paint::Bad, format!("{word}: {reason}"))
        }
        MachineState::Starting | MachineState::Stopping => painted(Paint::Weak, waiting(word)),
        MachineState::Stopped | MachineState::Suspended => painted(Paint::Faint, word),
    }
}

fn mode(mode: ShareMode) -> &'static str {
    match mode {
        ShareMode::Closed => "closed",
        ShareMode::ReadOnly => "read-only",
        ShareMode::ReadWrite => "read-write",
        ShareMode::Held => "held for a restore",
    }
}

/// The table of sessions; `None` where there is none.
#[must_use]
pub fn sessions(sessions: &[Session], now: Timestamp, style: &Style) -> Option<String> {
    let rows: Vec<Vec<Entry>> = sessions
        .iter()
        .map(|session| {
            vec![
                text(session.id.to_string()),
                session_state(session),
                text(session.profile.to_string()),
                text(session.machine.to_string()),
                maybe(session.folder_path.as_ref().map(|path| style.path(path))),
                text(words::ago(session.started, now)),
                text(command(&session.command)),
            ]
        })
        .collect();
    let header = ["SESSION", "STATE", "PROFILE", "MACHINE", "FOLDER", "STARTED", "COMMAND"];
    (!rows.is_empty()).then(|| table(style, &header, rows))
}

fn session_state(session: &Session) -> Entry {
    let word = session.state.word();
    match &session.state {
        SessionState::Running => painted(Paint::Good, word),
        SessionState::Frozen => painted(Paint::Bad, "FROZEN"),
        SessionState::Preparing | SessionState::Closing => painted(Paint::Weak, word),
        SessionState::Failed { reason } => painted(Paint::Bad, format!("{word}: {reason}")),
        SessionState::Ended => match session.exit {
            Some(Exit::Code(code)) => painted(Paint::Faint, format!("{word} ({code})")),
            Some(Exit::Signal(signal)) => painted(Paint::Weak, format!("{word} (signal {signal})")),
            Some(Exit::Lost) => painted(Paint::Bad, format!("{word} (lost)")),
            None => painted(Paint::Faint, word),
        },
    }
}

/// A command on one short line.
fn command(words: &[String]) -> String {
    const LONGEST: usize = 40;
    let line = words.join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    let mut short: String = line.chars().take(LONGEST - 1).collect();
    short.push('…');
    short
}

fn forwards(forwards: &[ForwardStatus], style: &Style) -> Option<String> {
    let rows: Vec<Vec<Entry>> = forwards
        .iter()
        .map(|forward| {
            vec![
                text(forward.machine.to_string()),
                text(&forward.purpose),
                text(format!("127.0.0.1:{}", forward.host_port)),
                text(forward.guest_port.to_string()),
            ]
        })
        .collect();
    let header = ["MACHINE", "FOR", "ON THE HOST", "INSIDE"];
    (!rows.is_empty()).then(|| table(style, &header, rows))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
