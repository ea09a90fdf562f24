//! The way into a session: folder, decision, machine beside opening snapshot, share, start.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringfence_model::admit::{self, Admitted, Granted, Refused, Request, Traces};
use ringfence_model::api::{RunReady, RunRequest};
use ringfence_model::audit::{self, Decision, Outcome};
use ringfence_model::bytes::BytePath;
use ringfence_model::config::Config;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::{Access, Folder, FolderRules};
use ringfence_model::history::SnapshotKind;
use ringfence_model::machine::{Limits, Machine};
use ringfence_model::name::{MachineName, SessionId};
use ringfence_model::profile::Profile;
use ringfence_model::protection::Actor;
use ringfence_model::session::{Session, SessionState};
use ringfence_model::status::ShareMode;
use ringfence_share::SnapshotStart;

use super::machines::Ready;
use super::protect::Want;
use super::report::Report;
use super::world::Facts;
use super::{Daemon, failed, folders, of_kind, profiles, secrets};
use crate::gateways::NetworkRule;
use crate::guest::recipe;
use crate::host::{child, clock, facts, files};
use crate::secrets::Carried;
use crate::session::{self, SessionSpec, SpecBytes, SshFacts};
use crate::shares::Shown;

/// Variables of the person's terminal that a command inside may know.
const TERMINAL_VARIABLES: [&str; 6] = ["TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

/// How long a session's process may take to reach the guest. Emulation is slow.
const SESSION_START: Duration = Duration::from_secs(120);

/// A run that was admitted: what is on disk already.
struct Plan {
    session: Session,
    profile: Profile,
    folder: Option<Folder>,
    directory: Option<PathBuf>,
    granted: Granted,
    rule: NetworkRule,
    protected: bool,
}

/// What is started inside.
struct Command {
    words: Vec<BytePath>,
    working: PathBuf,
    secrets: Vec<Carried>,
}

impl Daemon {
    /// Makes everything ready for a session and starts its process.
    ///
    /// # Errors
    /// A refusal by a rule, or what failed on the way; nothing is left half-open.
    pub async fn run(
        self: &Arc<Self>,
        request: RunRequest,
        report: Report,
    ) -> Result<RunReady, ApiError> {
        self.run_by(Actor::default(), request, report).await
    }

    /// As [`Self::run`], for somebody: the decision is recorded with the name.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_by(
        self: &Arc<Self>,
        by: Actor,
        request: RunRequest,
        report: Report,
    ) -> Result<RunReady, ApiError> {
        let config = self.config.current();
        let decided = match &config {
            Ok(config) => self.decide(&request, config, &report).await,
            Err(error) => Err(error.clone()),
        };
        let rules = match &decided {
            Ok(plan) => plan.folder.as_ref().zip(config.as_ref().ok()),
            Err(_) => None,
        };
        let rules = rules.map(|(folder, config)| folders::rules_of(&folder.path, config));
        let mut decision = decision(by, &request, &decided, rules.as_ref());
        let hinted = decided.as_ref().ok().and_then(|plan| plan.folder.as_ref());
        decision.reasons.extend(hinted.into_iter().flat_map(|folder| self.hint_words(folder)));
        self.record_decision(&decision, &report);
        let (config, plan) = (config?, decided?);
        let id = plan.session.id.clone();
        match self.prepare(&request, &config, plan, &report).await {
            Ok(ready) => Ok(ready),
            Err(error) => {
                self.abandon(&id, &error).await;
                Err(error)
            }
        }
    }

    async fn decide(
        &self,
        request: &RunRequest,
        config: &Config,
        report: &Report,
    ) -> Result<Plan, ApiError> {
        let directory = request.directory.as_deref().map(folders::canonical).transpose()?;
        let folder = self.folder_for(request, directory.as_deref())?;
        self.admit(request, config, folder, directory, report).await
    }

    fn folder_for(
        &self,
        request: &RunRequest,
        directory: Option<&Path>,
    ) -> Result<Option<Folder>, ApiError> {
        let Some(directory) = directory else { return Ok(None) };
        let own = self.folder_of(directory)?;
        let ruled = own.as_ref().and_then(|own| self.ruled_within(&own.path, directory));
        if let Some(folder) = own.filter(|_| ruled.is_none()) {
            self.same_directory(&folder)?;
            return Ok(Some(folder));
        }
        let root = ruled.as_deref().unwrap_or(directory);
        if !request.register {
            // Says first what is wrong with the directory itself, if anything is.
            self.lookup(directory)?;
            let shown = root.display();
            return Err(ApiError::new(
                ErrorKind::Refused,
                format!("{shown} is not registered yet"),
            )
            .hint(format!("ringfence folder add {shown} · or add --yes to the run")));
        }
        self.register(root).map(Some)
    }

    /// Decides, and writes down what follows before anything can be seen by anybody.
    async fn admit(
        &self,
        request: &RunRequest,
        config: &Config,
        folder: Option<Folder>,
        directory: Option<PathBuf>,
        report: &Report,
    ) -> Result<Plan, ApiError> {
        let name = match &request.profile {
            Some(name) => name.clone(),
            None => profiles::shell(),
        };
        let profile = profiles::find(config, &name)?;
        let _one_at_a_time = self.admission.lock().await;
        let facts = self.facts(config)?;
        let new_machine = match &request.machine {
            Some(name) => name.clone(),
            None => free_name(folder.as_ref(), &profile, &facts.machines)?,
        };
        let start = directory.as_deref().map(|directory| facts.mounts.place(directory));
        let admitted = admit::admit(
            &facts.world(),
            &Request {
                folder: folder.as_ref().map(|folder| &folder.id),
                directory: start.as_ref(),
                profile: &profile,
                machine: request.machine.as_ref(),
                new_machine: &new_machine,
                network: request.network,
            },
        )
        .map_err(refusal)?;
        for note in admitted.because.iter().chain(&admitted.notes) {
            report.note(note);
        }
        let protected = self.protection_or_consent(request, folder.as_ref())?;
        let mut guard = request.guard.unwrap_or_default();
        if let Some(folder) = &folder {
            self.warn_of_standing(folder, report);
            self.tell_of_hint(folder, report);
            self.nothing_frozen(folder)?;
            guard = request.guard.unwrap_or_else(|| self.guard_rule(folder).action);
        }

        let machine =
            machine_for(request, &facts, &admitted, folder.as_ref(), &profile, new_machine)?;
        let reach = &admitted.granted.reach;
        let rule = NetworkRule { network: reach.network, allow: reach.allow.clone() };
        self.machines.may_use_network(&machine.name, &rule, &facts.open)?;
        let session = Session {
            id: new_session_id(),
            profile: profile.name.clone(),
            machine: machine.name.clone(),
            folder: folder.as_ref().map(|folder| folder.id.clone()),
            folder_path: folder.as_ref().map(|folder| folder.path.clone()),
            command: command(request, &profile).iter().map(|word| word.path.clone()).collect(),
            state: SessionState::Preparing,
            started: clock::now(),
            ended: None,
            exit: None,
            guard,
            mass_loss: None,
            stricter: Vec::new(),
            opening_snapshot: None,
            closing_snapshot: None,
        };
        // Machines and folders remember what they may hold before anybody can see a byte of it.
        self.write_held(&facts, &admitted.held)?;
        self.store.set_machine(&machine).map_err(failed)?;
        self.store.set_granted(&session.id, &admitted.granted).map_err(failed)?;
        self.store.set_session(&session).map_err(failed)?;
        Ok(Plan { session, profile, folder, directory, granted: admitted.granted, rule, protected })
    }

    /// Whether a snapshot stands before the session; else the person said the folder's name.
    fn protection_or_consent(
        &self,
        request: &RunRequest,
        folder: Option<&Folder>,
    ) -> Result<bool, ApiError> {
        let Some(folder) = folder else { return Ok(false) };
        let backed_up = self.standing(folder).around_sessions();
        if backed_up && request.unprotected.is_none() {
            return Ok(true);
        }
        let name = folder.path.file_name().unwrap_or_default().to_string_lossy();
        if request.unprotected.as_deref() == Some(&*name) {
            return Ok(false);
        }
        if !backed_up {
            // Turned off by its own explicit act, which named the folder already.
            return Ok(false);
        }
        Err(ApiError::new(
            ErrorKind::Refused,
            format!("--unprotected must be followed by the folder's name, `{name}`"),
        ))
    }

    /// The limits of a new machine: from the configuration, else from the host's size.
    pub(super) fn default_limits(&self, config: &Config) -> Limits {
        let from_host = Limits::for_host(facts::processors(), facts::memory());
        Limits {
            cpus: config.defaults.cpus.unwrap_or(from_host.cpus),
            memory: config.defaults.memory.unwrap_or(from_host.memory),
            disk: config.defaults.disk.unwrap_or(from_host.disk),
        }
    }

    async fn prepare(
        self: &Arc<Self>,
        request: &RunRequest,
        config: &Config,
        plan: Plan,
        report: &Report,
    ) -> Result<RunReady, ApiError> {
        let Plan { mut session, profile, folder, directory, granted, rule, protected } = plan;
        let access = granted.access;
        // Before anything is shared or started: without them there is no run.
        let secrets = self.read_secrets(config, &granted.secrets).await?;
        if let Some(folder) = &folder {
            self.settle_exits(folder, report).await?;
        }
        let attached = async {
            self.ensure_image(&session.machine, report).await?;
            let ready = self.machines.ensure_running(&session.machine, &rule, report).await?;
            let guest_path = match &folder {
                Some(folder) => {
                    let shown = Shown::of(&granted);
                    Some(self.machines.attach(&session.machine, folder, &shown).await?)
                }
                None => None,
            };
            Ok::<_, ApiError>((ready, guest_path))
        };
        // What stands in the folder now, the opening snapshot will have.
        let before = SnapshotStart::now();
        let opening = async {
            match folder.as_ref().filter(|_| protected) {
                Some(folder) => {
                    let want = Want::new(SnapshotKind::Opening, Some(&session));
                    self.snapshot(folder, want, report).await.map(|view| Some(view.id))
                }
                None => Ok(None),
            }
        };
        let (attached, opening) = tokio::join!(attached, opening);
        // The folder's own failure is the more important news.
        let opening = opening.map_err(|error| {
            error.hint("nothing was shared; to run without protection: --unprotected NAME (the folder's name)")
        })?;
        let (ready, guest_path) = attached?;
        session.opening_snapshot = opening;
        session.state = SessionState::Running;
        self.store.set_session(&session).map_err(failed)?;
        if let Some(folder) = &folder {
            // Only now, with the opening snapshot on disk, may anything be written.
            if access == Access::Rw {
                self.begin_journal(&session, folder, before).await?;
                self.begin_guard(&session, folder).await?;
            }
            let mode =
                if access == Access::Rw { ShareMode::ReadWrite } else { ShareMode::ReadOnly };
            // Not where the rules became stricter in the meantime.
            let _switching = self.protect.switching.lock().await;
            let now = self.session(&session.id)?;
            if now.state == SessionState::Frozen {
                return Err(ApiError::new(ErrorKind::Refused, now.stricter.join("; ")));
            }
            self.machines.set_share(&session.machine, &folder.id, mode).await?;
        }
        if !report.is_heard() {
            return Err(ApiError::new(
                ErrorKind::Interrupted,
                "nobody waits for this session any more",
            ));
        }
        let working = match (&folder, &guest_path, &directory) {
            (Some(folder), Some(guest), Some(directory)) => {
                let stands =
                    request.working.as_deref().filter(|place| place.starts_with(&folder.path));
                let place = stands.unwrap_or(directory);
                guest.join(place.strip_prefix(&folder.path).unwrap_or(Path::new("")))
            }
            _ => PathBuf::from("/home/agent"),
        };
        let command = Command { words: command(request, &profile), working, secrets };
        let socket = self.start_process(request, &session, &profile, &ready, command).await?;
        self.watch(&session.id);
        Ok(RunReady { session: session.id, socket, machine: session.machine })
    }

    async fn start_process(
        &self,
        request: &RunRequest,
        session: &Session,
        profile: &Profile,
        ready: &Ready,
        command: Command,
    ) -> Result<PathBuf, ApiError> {
        let socket = self.layout.session_socket(&session.id);
        let mut environment: BTreeMap<String, String> = request
            .environment
            .iter()
            .filter(|(name, _)| TERMINAL_VARIABLES.contains(&name.as_str()))
            .cloned()
            .collect();
        if let Some(recipe) = profile.recipe.as_ref().and_then(recipe::find) {
            environment.extend(recipe.env);
        }
        environment.extend(profile.env.clone());
        environment.insert("RINGFENCE_SESSION".into(), session.id.to_string());
        let bytes = |text: &str| SpecBytes::new(text.as_bytes());
        let spec = SessionSpec {
            id: session.id.clone(),
            machine: session.machine.clone(),
            ssh: SshFacts {
                program: "ssh".into(),
                control_path: ready.ssh.control(),
                user: "agent".into(),
                exec: "/usr/lib/ringfence/exec".into(),
            },
            guest_socket: ready.ssh.service(),
            argv: command.words.iter().filter_map(BytePath::to_bytes).map(SpecBytes::new).collect(),
            env: environment.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
            secrets: secrets::variables(command.secrets),
            cwd: SpecBytes::new(command.working.as_os_str().as_bytes()),
            terminal: request.terminal,
            socket: socket.clone(),
            record: self.layout.session(&session.id),
            limits: session::Limits::default(),
        };
        let log = spec.record.join("process.log");
        files::private_directory(&self.layout.run.join("s")).map_err(failed)?;
        child::start::<_, session::Ready>("session", &spec, &log, SESSION_START).await.map_err(
            |error| {
                of_kind(ErrorKind::Engine, error)
                    .hint(format!("ringfence machine logs {}", session.machine))
            },
        )?;
        Ok(socket)
    }

    /// Puts a session that never ran out of the way: its share answers nothing.
    async fn abandon(self: &Arc<Self>, id: &SessionId, error: &ApiError) {
        let Ok(Some(mut session)) = self.store.session(id) else { return };
        session.state = SessionState::Failed { reason: error.message.clone() };
        session.ended = Some(clock::now());
        if let Err(error) = self.store.set_session(&session) {
            // On a full disk, say. It never ran: forgotten it is in nobody's way.
            tracing::error!(%id, %error, "a failed session could not be written down; it is forgotten");
            if let Err(error) = self.store.forget_session(id) {
                tracing::error!(%id, %error, "it could not be forgotten either");
            }
        }
        if let Some(folder) = &session.folder {
            // Where it was never begun there is nothing to end.
            let _ = self.machines.end_journal(&session.machine, folder, id).await;
        }
        if let Some(folder) = &session.folder
            && !self.in_use(&session.machine, folder, id)
            && let Err(error) =
                self.machines.set_share(&session.machine, folder, ShareMode::Closed).await
        {
            tracing::warn!(%id, %error, "the share of a failed session could not be closed");
        }
    }
}

/// What is recorded of a decision.
fn decision(
    by: Actor,
    request: &RunRequest,
    decided: &Result<Plan, ApiError>,
    rules: Option<&FolderRules>,
) -> Decision {
    let asked = Decision {
        time: clock::now(),
        by,
        outcome: Outcome::Refused,
        profile: request.profile.clone().unwrap_or_else(profiles::shell),
        folder: request.directory.clone(),
        access: None,
        machine: request.machine.clone(),
        network: request.network,
        session: None,
        reasons: Vec::new(),
    };
    match decided {
        Err(error) => Decision {
            reasons: [&error.message].into_iter().chain(&error.causes).cloned().collect(),
            ..asked
        },
        Ok(plan) => Decision {
            outcome: Outcome::Admitted,
            folder: plan.folder.as_ref().map(|folder| folder.path.clone()),
            access: plan.folder.is_some().then_some(plan.granted.access),
            machine: Some(plan.session.machine.clone()),
            network: Some(plan.rule.network),
            session: Some(plan.session.id.clone()),
            reasons: audit::rules_in_words(rules, &plan.granted.secrets),
            ..asked
        },
    }
}

/// The machine that serves, as it is to be written down; a new one where none does yet.
fn machine_for(
    request: &RunRequest,
    facts: &Facts,
    admitted: &Admitted,
    folder: Option<&Folder>,
    profile: &Profile,
    new_machine: MachineName,
) -> Result<Machine, ApiError> {
    let known = admitted.machine.as_ref();
    let existing = known.and_then(|name| facts.machines.iter().find(|m| m.name == *name));
    let mut machine = match existing {
        Some(machine) => machine.clone(),
        None if folder.is_none() && request.machine.is_some() => {
            let error = ApiError::new(ErrorKind::Failed, "there is no machine of that name");
            return Err(error.hint("ringfence machine list"));
        }
        None => Machine {
            name: new_machine,
            limits: admitted.limits,
            image: String::new(),
            recipe: profile.recipe.clone(),
            slot: free_slot(&facts.machines),
            folder: folder.map(|folder| folder.id.clone()),
            seen: Traces::default(),
            because: None,
            created: clock::now(),
        },
    };
    if let Some(seen) = admitted.held.machines.get(&machine.name) {
        machine.seen = seen.clone();
    }
    // Why it was chosen stays to be seen when nobody asks any more.
    machine.because = admitted.because.clone().or(machine.because);
    Ok(machine)
}

/// A refusal as a person is told: the first reason, the others below it, the ways out.
fn refusal(refused: Refused) -> ApiError {
    let mut reasons = refused.reasons.into_iter();
    let mut error = ApiError::new(ErrorKind::Refused, reasons.next().unwrap_or_default());
    error.causes = reasons.collect();
    error.hints = refused.ways_out;
    error
}

/// The command inside: the agent's with its arguments, the person's, or a login shell.
fn command(request: &RunRequest, profile: &Profile) -> Vec<BytePath> {
    let agent = profile.recipe.as_ref().filter(|_| !request.command).and_then(recipe::find);
    let own =
        |words: &[String]| words.iter().map(|word| BytePath::from_bytes(word.as_bytes())).collect();
    match agent {
        Some(recipe) => {
            let mut words: Vec<BytePath> = own(&recipe.command);
            words.extend::<Vec<_>>(own(&profile.args));
            words.extend(request.arguments.iter().cloned());
            words
        }
        None if request.arguments.is_empty() => own(&["/bin/bash".into(), "-l".into()]),
        None => request.arguments.clone(),
    }
}

/// `FOLDER`, `FOLDER-RECIPE`, or one of these with a number: the first that is free.
fn free_name(
    folder: Option<&Folder>,
    profile: &Profile,
    machines: &[Machine],
) -> Result<MachineName, ApiError> {
    let base = folder.map_or_else(|| "shell".to_owned(), |folder| folders::slug(&folder.path, 20));
    let stem = match &profile.recipe {
        Some(recipe) => format!("{base}-{recipe}").chars().take(34).collect::<String>(),
        None => base,
    };
    let stem = stem.trim_end_matches('-');
    (1..)
        .map(|number| if number == 1 { stem.to_owned() } else { format!("{stem}-{number}") })
        .find(|name| !machines.iter().any(|machine| machine.name.as_str() == name))
        .map_or_else(
            || Err(ApiError::new(ErrorKind::Failed, "no name is free")),
            |name| MachineName::new(name).map_err(failed),
        )
}

/// The lowest number that no machine has.
pub(super) fn free_slot(machines: &[Machine]) -> u32 {
    (0..).find(|slot| machines.iter().all(|machine| machine.slot != *slot)).unwrap_or(u32::MAX)
}

/// Sorts by start time; unique also within one millisecond and after the clock went back.
fn new_session_id() -> SessionId {
    let now = clock::now().to_zoned(jiff::tz::TimeZone::UTC);
    let mut random = [0u8; 2];
    let _ = getrandom::fill(&mut random);
    let text = format!("{}-{:04x}", now.strftime("%y%m%d-%H%M%S"), u16::from_be_bytes(random));
    SessionId::new(text).unwrap_or_else(|_| unreachable!("digits and dashes are a name"))
}

#[cfg(test)]
mod sequence_tests;
#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
