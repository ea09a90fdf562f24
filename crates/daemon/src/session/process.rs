//! The order of things in a session process, from its specification to its exit record.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringfence_model::api::TerminalSize;
use ringfence_model::attach::{ClientSignal, Ended, FromSession};
use ringfence_model::session::Exit;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::client::{self, Desk, Wish};
use super::hub::Hub;
use super::lifeline::{self, Event, Lifeline};
use super::record::{ExitRecord, Record};
use super::spec::{Limits, Ready, SecretVariable, SessionSpec};
use super::ssh::{self, Pipes, Ssh, Window};
use super::{SessionError, input, output};
use crate::host::{clock, files, process::ProcessId};

/// Largest specification, in bytes: arguments and environment have 2 MiB in Linux.
const MAX_SPEC: u64 = 16 * 1024 * 1024;
/// How long a killed command's end may take to be reported.
const AFTER_KILL: Duration = Duration::from_secs(2);
/// How long the end may be reported after ssh has ended.
const AFTER_SSH: Duration = Duration::from_secs(5);
/// How long watchers get to read the last output.
const WATCHERS: Duration = Duration::from_secs(5);

/// Runs one session: reads a [`SessionSpec`] from `input`, says `{"ready": …}`
/// ([`Ready`]) or `{"error": …}` on `output`, serves until the command has ended and
/// its output is delivered.
///
/// `SIGTERM` stops the session: the command gets `TERM`, after a grace `KILL`, then its
/// life line closes. Whatever happens, `exit.json` in the record directory says how it
/// ended before any client is told, and it does not wait for slow clients.
///
/// # Errors
/// When the session could not begin (it was said on `output` as well), or its end could
/// not be written down.
pub fn run(input: impl Read, mut output: impl Write) -> Result<(), SessionError> {
    // Fails when this process leads a session already, which is as good.
    let _ = rustix::process::setsid();
    let outcome = read(input).and_then(|mut spec| {
        let secrets = std::mem::take(&mut spec.secrets);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(SessionError::Process)?;
        let served = runtime.block_on(serve(&spec, secrets, &mut output));
        let _ = fs::remove_file(&spec.socket);
        // Nothing that is still under way may hold the process up.
        runtime.shutdown_background();
        served
    });
    if let Err(error) = &outcome {
        let _ = writeln!(output, "{}", json!({ "error": error.to_string() }));
        let _ = output.flush();
    }
    outcome
}

fn read(input: impl Read) -> Result<SessionSpec, SessionError> {
    let mut text = Zeroizing::new(Vec::new());
    let failed = |error: &dyn std::error::Error| SessionError::Spec(error.to_string());
    input.take(MAX_SPEC).read_to_end(&mut text).map_err(|error| failed(&error))?;
    let spec: SessionSpec = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    if spec.argv.is_empty() {
        return Err(SessionError::Spec("there is no command".into()));
    }
    Ok(spec)
}

async fn serve(
    spec: &SessionSpec,
    secrets: Vec<SecretVariable>,
    output: &mut impl Write,
) -> Result<(), SessionError> {
    let on_disk = |source| SessionError::Record { path: spec.record.clone(), source };
    let own = ProcessId::of(std::process::id())
        .ok_or_else(|| SessionError::Process(std::io::Error::other("/proc is not readable")))?;
    let record = Record::create(&spec.record).map_err(on_disk)?;
    let hub = Arc::new(Hub::new(spec.terminal.is_some(), record));
    let begun = async {
        let listener = listen(&spec.socket)
            .map_err(|source| SessionError::Socket { path: spec.socket.clone(), source })?;
        hub.with_record(|record| record.started(own)).map_err(on_disk)?;
        Session::begin(spec, secrets, &hub, listener).await
    };
    let ended = match begun.await {
        Ok(mut session) => {
            let said = writeln!(output, "{}", json!({ "ready": Ready { process: own } }));
            if said.and_then(|()| output.flush()).is_err() {
                // The daemon died meanwhile; the next one finds the session by its record.
                tracing::debug!("nobody waits for this session");
            }
            let ended = session.attend().await;
            session.drain(matches!(ended.exit, Exit::Lost)).await;
            Ok((ended, session))
        }
        Err(error) => Err((Ended { exit: Exit::Lost, reason: Some(error.to_string()) }, error)),
    };
    let facts = match &ended {
        Ok((ended, _)) | Err((ended, _)) => ended.clone(),
    };
    let exit = ExitRecord { exit: facts.exit, reason: facts.reason.clone(), ended: clock::now() };
    let written = hub.with_record(|record| record.ended(&exit)).map_err(on_disk);
    hub.over(&facts);
    match ended {
        Ok((_, mut session)) => {
            tokio::select! {
                () = hub.gone(WATCHERS) => {}
                _ = session.term.recv() => {}
            }
            written
        }
        Err((_, error)) => Err(error),
    }
}

/// Listens where only our own user may come in.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        files::private_directory(directory)?;
    }
    files::remove_if_there(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

struct Session<'a> {
    spec: &'a SessionSpec,
    hub: Arc<Hub>,
    lifeline: Option<Lifeline>,
    events: mpsc::Receiver<Event>,
    wishes: mpsc::Receiver<Wish>,
    term: Signal,
    ssh: Ssh,
    window: Option<Window>,
    pumps: Vec<(FromSession, JoinHandle<()>)>,
    first_client: Instant,
}

/// Where a running session stands, as far as deadlines go.
#[derive(Debug, Default)]
struct Watch {
    started: bool,
    ssh_ended: bool,
    /// The signal that the session was asked to end with.
    stopping: Option<&'static str>,
    /// What happens when nothing does until then.
    next: Option<(Instant, Next)>,
    /// Why the command did not start, or was stopped.
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Give up on a report.
    GiveUp(&'static str),
    /// Kill a command that was asked to end.
    Kill,
}

impl<'a> Session<'a> {
    async fn begin(
        spec: &'a SessionSpec,
        secrets: Vec<SecretVariable>,
        hub: &Arc<Hub>,
        listener: UnixListener,
    ) -> Result<Self, SessionError> {
        let term = signal(SignalKind::terminate()).map_err(SessionError::Process)?;
        for ignored in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()] {
            // Once handled, they no longer end this process.
            drop(signal(ignored).map_err(SessionError::Process)?);
        }
        let (lifeline, events) = lifeline::register(spec, &secrets).await?;
        // From here on only the machine knows them.
        drop(secrets);
        let (ssh, pipes) = ssh::start(spec).map_err(SessionError::Ssh)?;
        let (wishes, wished) = mpsc::channel(64);
        let (typed, to_command) = mpsc::unbounded_channel();
        let first_client = Instant::now() + spec.limits.first_client();
        let mut session = Self {
            spec,
            hub: Arc::clone(hub),
            lifeline: Some(lifeline),
            events,
            wishes: wished,
            term,
            ssh,
            window: None,
            pumps: Vec::new(),
            first_client,
        };
        match pipes {
            Pipes::Terminal { output, input, window } => {
                let gate = window.try_clone().map_err(SessionError::Ssh)?;
                session.window = Some(window);
                session.pump_out(output, FromSession::Stdout);
                session.pump_in(to_command, input, Some(gate));
            }
            Pipes::Plain { stdin, stdout, stderr } => {
                session.pump_out(stdout, FromSession::Stdout);
                session.pump_out(stderr, FromSession::Stderr);
                session.pump_in(to_command, stdin, None);
            }
        }
        let desk = Desk { hub: Arc::clone(hub), wishes, input: typed };
        tokio::spawn(client::accept(listener, desk));
        Ok(session)
    }

    fn pump_out(&mut self, source: impl AsyncRead + Unpin + Send + 'static, kind: FromSession) {
        let pump = output::pump(source, kind, Arc::clone(&self.hub), self.first_client);
        self.pumps.push((kind, tokio::spawn(pump)));
    }

    fn pump_in(
        &self,
        typed: mpsc::UnboundedReceiver<input::Input>,
        sink: impl AsyncWrite + Unpin + Send + 'static,
        gate: Option<Window>,
    ) {
        let hub = Arc::clone(&self.hub);
        tokio::spawn(async move {
            let terminal = gate.is_some();
            if let Some(window) = gate {
                window.raw().await;
            }
            input::pump(typed, sink, hub, terminal).await;
        });
    }

    const fn limits(&self) -> Limits {
        self.spec.limits
    }

    /// Serves until it is known how the command ended.
    async fn attend(&mut self) -> Ended {
        let start = Instant::now() + self.limits().start();
        let mut watch = Watch {
            next: Some((start, Next::GiveUp("the command did not start"))),
            ..Watch::default()
        };
        loop {
            let (until, next) = watch.next.unzip();
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    if let Some(exit) = self.reported(event, &mut watch).await {
                        return exit;
                    }
                }
                Some(wish) = self.wishes.recv() => self.grant(wish).await,
                _ = self.term.recv() => self.end(&mut watch).await,
                _ = self.ssh.child.wait(), if !watch.ssh_ended => {
                    watch.ssh_ended = true;
                    let why = if watch.started {
                        "the connection that carries its output was lost"
                    } else {
                        "ssh failed"
                    };
                    if watch.stopping.is_none() {
                        watch.next = Some((Instant::now() + AFTER_SSH, Next::GiveUp(why)));
                    }
                }
                () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    match next {
                        Some(Next::Kill) => self.kill(&mut watch).await,
                        Some(Next::GiveUp(why)) => return self.lost(why, watch.reason),
                        None => {}
                    }
                }
            }
        }
    }

    /// Takes the guest's report; with the command's end if it is one.
    async fn reported(&mut self, event: Option<Event>, watch: &mut Watch) -> Option<Ended> {
        match event {
            Some(Event::Started) => {
                watch.started = true;
                match (watch.stopping, &mut self.lifeline) {
                    // It was asked to end before it was there to hear it.
                    (Some(signal), Some(lifeline)) => lifeline.signal(signal).await,
                    _ if watch.ssh_ended => {}
                    _ => watch.next = None,
                }
            }
            Some(Event::Stopped) => self.hub.stopped(true),
            Some(Event::Continued) => self.hub.stopped(false),
            Some(Event::Failed(reason)) => watch.reason = Some(reason),
            Some(Event::Exited(exit)) => return Some(Ended { exit, reason: watch.reason.take() }),
            Some(Event::Lost) => {
                return Some(self.lost("the machine lost the command", watch.reason.take()));
            }
            None => {
                self.hub.begin();
                let why = "the connection to the machine was lost";
                return Some(self.lost(why, watch.reason.take()));
            }
        }
        None
    }

    fn lost(&self, why: &str, before: Option<String>) -> Ended {
        let mut reason = format!("{why} (machine {})", self.spec.machine);
        for more in [before, self.ssh.words.get()].into_iter().flatten() {
            reason.push_str(": ");
            reason.push_str(&more);
        }
        Ended { exit: Exit::Lost, reason: Some(reason) }
    }

    /// Somebody wants the session to end.
    async fn end(&mut self, watch: &mut Watch) {
        if watch.stopping.is_some() {
            // Asked twice.
            return self.kill(watch).await;
        }
        watch.stopping = Some("TERM");
        self.hub.notice("the session is being stopped");
        self.hub.begin();
        watch.reason = Some("the session was stopped".into());
        watch.next = Some((Instant::now() + self.limits().grace(), Next::Kill));
        if let Some(lifeline) = &mut self.lifeline {
            lifeline.signal("TERM").await;
            lifeline.proceed().await;
        }
    }

    async fn kill(&mut self, watch: &mut Watch) {
        watch.stopping = Some("KILL");
        watch.next = Some((Instant::now() + AFTER_KILL, Next::GiveUp("the command did not end")));
        if let Some(lifeline) = &mut self.lifeline {
            lifeline.signal("KILL").await;
        }
    }

    async fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Resize { size, redraw } => self.resize(size, redraw),
            Wish::StdoutClosed => self.stop_reading(FromSession::Stdout),
            Wish::StderrClosed => self.stop_reading(FromSession::Stderr),
            Wish::Signal(signal) => {
                if let Some(lifeline) = &mut self.lifeline {
                    if signal == ClientSignal::Cont {
                        lifeline.proceed().await;
                    } else {
                        lifeline.signal(lifeline::name(signal)).await;
                    }
                }
            }
        }
    }

    fn resize(&self, size: TerminalSize, redraw: bool) {
        let Some(window) = &self.window else { return };
        if size.rows == 0 || size.columns == 0 {
            return;
        }
        if redraw && let Ok(window) = window.try_clone() {
            // Only a size that differs reaches the program: so it is another one first.
            window.resize(TerminalSize { rows: size.rows.saturating_sub(1).max(1), ..size });
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(150)).await;
                window.resize(size);
            });
        } else {
            window.resize(size);
        }
    }

    /// Closes our end of a pipe: the command gets `SIGPIPE`, as in a pipeline.
    fn stop_reading(&mut self, kind: FromSession) {
        if self.spec.terminal.is_none() {
            for (_, pump) in self.pumps.iter().filter(|(of, _)| *of == kind) {
                pump.abort();
            }
        }
    }

    /// Takes in the rest of the output, first with the command's left-over processes
    /// alive, then with them killed, and never longer than the limits say: what holds
    /// the output open in the machine, or writes without end, does not hold the session.
    async fn drain(&mut self, lost: bool) {
        self.hub.begun(self.first_client).await;
        self.hub.last();
        let limits = self.limits();
        if !lost {
            self.settle(limits.quiet(), limits.linger()).await;
        }
        // From here on the guest kills what is left.
        self.lifeline = None;
        self.events.close();
        if !lost || !self.pumps.iter().all(|(_, pump)| pump.is_finished()) {
            self.settle(limits.quiet().saturating_mul(4), limits.linger()).await;
        }
        for (_, pump) in &self.pumps {
            pump.abort();
        }
        let _ = self.ssh.child.start_kill();
    }

    /// Waits for the pumps' end, `quiet` without output, or `most`.
    async fn settle(&mut self, quiet: Duration, most: Duration) {
        let begin = Instant::now();
        let hub = Arc::clone(&self.hub);
        let silence = async {
            loop {
                let until = (hub.quiet_since().max(begin) + quiet).min(begin + most);
                if until <= Instant::now() {
                    return;
                }
                tokio::time::sleep_until(until).await;
            }
        };
        let pumps = async {
            for (_, pump) in &mut self.pumps {
                if !pump.is_finished() {
                    let _ = pump.await;
                }
            }
        };
        tokio::select! {
            () = pumps => {}
            () = silence => {}
        }
    }
}
