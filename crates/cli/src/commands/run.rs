//! `ringfence run`, and what `exec` and `shell` share with it: preparation, the terminal,
//! the end.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use hyper::Method;
use ringfence_model::api::{RunReady, RunRequest, RunSummary};
use ringfence_model::attach::{Ended, Hello};
use ringfence_model::bytes::BytePath;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::mass_loss::GuardAction;
use ringfence_model::name::{MachineName, ProfileName, SessionId};
use ringfence_model::profile::Network;
use ringfence_model::session::{Exit, SessionState};

use super::exit_file::{ExitFile, Outcome};
use super::{first_contact, frozen, machine};
use crate::app::App;
use crate::attach::AttachError;
use crate::client::Route;
use crate::env::terminal_name;
use crate::env::terminal_size;
use crate::error::{Result, usage};
use crate::output::summary;

/// How often a closing is asked for again when the daemon dies under it.
const CLOSE_ATTEMPTS: usize = 3;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "ringfence run PROFILE [OPTIONS] [-- ARGS…]\n       ringfence run [--profile P] [OPTIONS] -- COMMAND…",
    after_help = "Examples:\n  ringfence run claude                       the agent in the folder you are in\n  ringfence run claude -- --continue         with arguments for the agent\n  ringfence run -- npm test                  any command; no agent\n  ringfence run --profile claude -- bash     a command under the rules of a profile\n  ringfence run codex --network offline      nothing leaves the machine\n\nThe inner exit code is passed through. Own failures: 250 frozen by the guard, 251 failed, 252 usage,\n253 configuration, 254 refused by a rule, 255 engine, vault or daemon; --exit-file says which it was."
)]
pub struct RunArgs {
    /// Which agent, and how: `ringfence profile list`
    #[arg(value_name = "PROFILE")]
    pub profile: Option<ProfileName>,
    /// Run COMMAND under this profile's rules instead of its agent
    #[arg(long = "profile", value_name = "P")]
    pub under: Option<ProfileName>,
    /// The folder [default: the one that contains the current directory]
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The machine; made if missing [default: the folder's own]
    #[arg(long, value_name = "M")]
    pub machine: Option<MachineName>,
    /// A narrower network: offline, allowlist, internet or open
    #[arg(long, value_name = "N")]
    pub network: Option<Network>,
    /// Put an unknown folder under protection without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Run although nothing protects the folder, whose last path component is NAME
    #[arg(long, value_name = "NAME")]
    pub unprotected: Option<String>,
    /// When it removes or rewrites too many files at once: freeze it, only warn, or off
    /// [default: as the configuration says, else freeze]
    #[arg(long, value_name = "off|warn|freeze")]
    pub guard: Option<GuardAction>,
    /// Write to FILE how it ended: {"kind": "inner"|"ringfence", "code": …, "exit": …}
    #[arg(long, value_name = "FILE")]
    pub exit_file: Option<PathBuf>,
    /// Arguments for the agent, or the command
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// What is to be run: decided, before anything happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The profile; `None`: `shell`.
    pub profile: Option<ProfileName>,
    /// `arguments` are a command and not arguments of the profile's agent.
    pub is_command: bool,
    /// See `is_command`.
    pub arguments: Vec<OsString>,
    /// A directory; `None`: the current one.
    pub folder: Option<PathBuf>,
    /// No folder at all, but this machine, which must exist.
    pub only_machine: bool,
    /// The machine that was named.
    pub machine: Option<MachineName>,
    /// The network that was named.
    pub network: Option<Network>,
    /// Register an unknown folder without asking.
    pub yes: bool,
    /// The name that was typed to go without protection.
    pub unprotected: Option<String>,
    /// What the guard against mass loss does; `None`: as the configuration says.
    pub guard: Option<GuardAction>,
    /// Where to write how it ended.
    pub exit_file: Option<PathBuf>,
}

impl Plan {
    /// A command, or with none a login shell, in the current folder.
    #[must_use]
    pub fn command(arguments: Vec<OsString>) -> Self {
        Self {
            profile: None,
            is_command: true,
            arguments,
            folder: None,
            only_machine: false,
            machine: None,
            network: None,
            yes: false,
            unprotected: None,
            guard: None,
            exit_file: None,
        }
    }

    /// In this machine and without a folder, where one is named.
    pub fn in_machine(&mut self, machine: Option<MachineName>) {
        self.only_machine = machine.is_some();
        self.machine = machine;
    }

    /// What `run`'s arguments mean.
    ///
    /// # Errors
    /// When they contradict each other or say nothing.
    pub fn from_args(args: RunArgs) -> Result<Self> {
        if args.profile.is_some() && args.under.is_some() {
            return Err(usage("PROFILE and --profile cannot be used together")
                .hint("ringfence run PROFILE -- ARGS        (arguments for the agent)")
                .hint("ringfence run --profile P -- COMMAND (another command under its rules)"));
        }
        if args.profile.is_none() && args.arguments.is_empty() {
            return Err(usage("nothing to run: name a profile, or a command after `--`")
                .hint("ringfence run claude")
                .hint("ringfence run -- COMMAND")
                .hint("ringfence profile list"));
        }
        Ok(Self {
            is_command: args.profile.is_none(),
            profile: args.profile.or(args.under),
            arguments: args.arguments,
            folder: args.folder,
            only_machine: false,
            machine: args.machine,
            network: args.network,
            yes: args.yes,
            unprotected: args.unprotected,
            guard: args.guard,
            exit_file: args.exit_file,
        })
    }

    /// What the summary calls it: the agent's profile, or the command.
    #[must_use]
    pub fn who(&self) -> String {
        match (&self.profile, self.arguments.first()) {
            (Some(profile), _) if !self.is_command => profile.to_string(),
            (_, Some(command)) => {
                let name = Path::new(command).file_name().unwrap_or(command);
                name.to_string_lossy().into_owned()
            }
            (_, None) => "shell".into(),
        }
    }
}

/// Runs it.
///
/// # Errors
/// See [`carry_out`].
pub async fn run(app: &App, args: RunArgs) -> Result<u8> {
    carry_out(app, Plan::from_args(args)?).await
}

/// Does it all and returns the inner exit code.
///
/// # Errors
/// Own failures, which are never mistaken for an inner exit code in the exit file.
pub async fn carry_out(app: &App, plan: Plan) -> Result<u8> {
    let mut file = plan.exit_file.as_deref().map(ExitFile::create).transpose()?;
    let mut exit = None;
    let result = steps(app, &plan, &mut exit).await;
    if let Some(file) = &mut file {
        file.write(&match &result {
            Ok(code) => Outcome::inner(*code, exit),
            Err(error) => Outcome::own(error.kind.exit_code_around_a_command(), exit),
        })?;
    }
    result
}

async fn steps(app: &App, plan: &Plan, exit: &mut Option<Exit>) -> Result<u8> {
    let Some(request) = request(app, plan).await? else {
        return Err(ApiError::new(ErrorKind::Refused, "nothing was run: the answer was no")
            .hint("ringfence run --yes …, to go on without being asked"));
    };
    let mut route = Route::new("/v1/run");
    if let Some(terminal) = terminal_name() {
        route = route.query("terminal", &terminal);
    }
    let ready: RunReady = app.stream(route, &request).await?;
    let ended = loop {
        // Once it stands still the terminal is the person's again.
        let attached = tokio::select! {
            attached = attach(app, &ready.socket, &ready.session, false) => attached,
            session = frozen::until_frozen(app, &ready.session), if !plan.only_machine => {
                frozen::decide(app, &session).await?;
                continue;
            }
        };
        break match attached {
            Ok(ended) => {
                *exit = Some(ended.exit);
                Ok(ended)
            }
            Err(error) if left_running(&error) => return Err(explain(&error, &ready.session)),
            Err(error) => Err(explain(&error, &ready.session)),
        };
    };
    let closed = close(app, &ready.session).await;
    finish(app, plan, &ready.session, ended, closed)
}

/// Decides what is told and which exit code it is.
fn finish(
    app: &App,
    plan: &Plan,
    session: &SessionId,
    ended: Result<Ended>,
    closed: Result<Closed>,
) -> Result<u8> {
    let out = &app.out;
    if let Ok(Closed::Done(summary)) = &closed
        && !plan.only_machine
    {
        out.note(&summary::render(summary, &plan.who(), &out.error_style));
    }
    let failed = match &closed {
        Ok(Closed::Done(summary)) => match &summary.session.state {
            SessionState::Failed { reason } => Some(reason.clone()),
            _ => None,
        },
        _ => None,
    };
    let ended = ended.map_err(|mut error| {
        error.causes.extend(failed.clone());
        error
    })?;
    if ended.exit == Exit::Lost {
        let mut error = ApiError::new(
            ErrorKind::Engine,
            "lost: the machine stopped answering, so nobody knows how the command ended",
        )
        .hint(format!("ringfence session show {session}"))
        .hint("ringfence diff");
        error.causes.extend(ended.reason);
        error.causes.extend(failed);
        return Err(error);
    }
    if let Some(reason) = failed {
        let mut error = ApiError::new(
            ErrorKind::Vault,
            format!("the command ended, but session {session} could not be closed"),
        )
        .hint("ringfence status");
        error.causes.push(reason);
        return Err(error);
    }
    match closed {
        Err(error) => Err(error.hint(format!("ringfence session show {session}"))),
        Ok(Closed::Left) => {
            out.note(&format!(
                "The closing snapshot goes on without you; look: ringfence session show {session}"
            ));
            Ok(ended.exit.shell_code())
        }
        Ok(Closed::Done(_)) => Ok(ended.exit.shell_code()),
    }
}

/// The request; `None` where the person does not want it.
async fn request(app: &App, plan: &Plan) -> Result<Option<RunRequest>> {
    let mut register = plan.yes;
    let directory = if plan.only_machine {
        if let Some(machine) = &plan.machine {
            must_exist(app, machine).await?;
        }
        None
    } else {
        let directory = app.directory(plan.folder.as_deref())?;
        let lookup = app.lookup(&directory).await?;
        if lookup.registered.is_none() && !plan.yes {
            if !first_contact::agrees(app, &lookup).await? {
                return Ok(None);
            }
            register = true;
        }
        Some(directory)
    };
    let terminals = app.surroundings.terminals;
    let terminal =
        if terminals.stdin && terminals.stdout { terminal_size(std::io::stdout()) } else { None };
    Ok(Some(RunRequest {
        directory,
        // With --folder, too, the command starts where the person stands, if that is in it.
        working: plan.folder.as_ref().and_then(|_| app.directory(None).ok()),
        profile: plan.profile.clone(),
        machine: plan.machine.clone(),
        network: plan.network,
        arguments: plan.arguments.iter().map(|word| bytes(word)).collect(),
        command: plan.is_command,
        terminal,
        environment: app.surroundings.forwarded.clone(),
        register,
        unprotected: plan.unprotected.clone(),
        guard: plan.guard,
    }))
}

fn bytes(word: &OsStr) -> BytePath {
    BytePath::from_bytes(word.as_bytes())
}

async fn must_exist(app: &App, name: &MachineName) -> Result<()> {
    if machine::all(app).await?.iter().any(|machine| machine.name == *name) {
        return Ok(());
    }
    Err(usage(format!("there is no machine {name}"))
        .hint("ringfence machine list")
        .hint(format!("ringfence machine create {name}")))
}

/// Connects this terminal with a session until the command ends.
///
/// # Errors
/// Why nobody here knows how the command ended; see [`left_running`].
pub async fn attach(
    app: &App,
    socket: &Path,
    session: &SessionId,
    watch_only: bool,
) -> std::result::Result<Ended, AttachError> {
    let terminals = app.surroundings.terminals;
    let terminal =
        if terminals.stdin && terminals.stdout { terminal_size(std::io::stdout()) } else { None };
    if app.out.verbose > 0 {
        app.out.note(&format!("attached to session {session}"));
    }
    crate::attach::run(socket, Hello { watch_only, terminal }).await
}

/// The person's view of a broken attachment: the session goes on, or is lost.
pub fn explain(error: &AttachError, session: &SessionId) -> ApiError {
    let described = match error {
        AttachError::Detached(why) => ApiError::new(
            ErrorKind::Interrupted,
            format!("left session {session}, which goes on: {why}"),
        ),
        AttachError::Unreachable(_) | AttachError::Gone => ApiError::from_source(
            ErrorKind::Daemon,
            "lost: nobody knows how the command ended",
            error,
        ),
        AttachError::Protocol(_) | AttachError::Local(_) => ApiError::from_source(
            ErrorKind::Daemon,
            format!("cannot stay attached to session {session}, which goes on"),
            error,
        ),
    };
    if left_running(error) {
        described
            .hint(format!("ringfence session attach {session}"))
            .hint(format!("ringfence session stop {session}"))
    } else {
        described.hint(format!("ringfence session show {session}"))
    }
}

/// Whether the session goes on without this terminal, so that nobody may wait for its end.
const fn left_running(error: &AttachError) -> bool {
    match error {
        AttachError::Detached(_) | AttachError::Protocol(_) | AttachError::Local(_) => true,
        AttachError::Unreachable(_) | AttachError::Gone => false,
    }
}

/// How waiting for the closing snapshot went.
enum Closed {
    /// It is on disk.
    Done(Box<RunSummary>),
    /// The person did not want to wait; the daemon finishes it.
    Left,
}

/// Waits for the closing snapshot. A daemon that died meanwhile is started again, and asked again.
async fn close(app: &App, session: &SessionId) -> Result<Closed> {
    let route = Route::new("/v1/sessions").segment(session.as_str()).segment("close");
    // What was typed for the command inside is not meant for this wait.
    app.interrupts.forget().await.map_err(|error| {
        ApiError::from_source(ErrorKind::Failed, "Ctrl-C cannot be listened for", &error)
    })?;
    let mut last = None;
    for _ in 0..CLOSE_ATTEMPTS {
        let mut waiting = app.out.waiting();
        let answer = app.client.stream(Method::POST, &route, &(), |event| waiting.on(event));
        let answer = tokio::select! {
            answer = answer => answer,
            () = app.interrupts.next() => return Ok(Closed::Left),
        };
        match answer {
            Ok(summary) => return Ok(Closed::Done(Box::new(summary))),
            Err(error) if error.kind == ErrorKind::Daemon => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| ApiError::new(ErrorKind::Daemon, "the session was not closed")))
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
