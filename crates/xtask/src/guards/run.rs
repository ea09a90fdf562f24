//! Builds the copy and runs single tests of it, each with a time limit. Owns every process
//! that takes part, and leaves none behind. Must not judge what an outcome means.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use super::copy::Copy;
use super::switch::VARIABLE;

/// How often a running test is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a process may take to end that was killed.
const ENDING: Duration = Duration::from_secs(10);

/// How a test or scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    Failed,
    /// It was ended at its time limit.
    Stuck,
}

/// A test that can be run.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    binary: PathBuf,
    /// Of its package: where it runs.
    directory: PathBuf,
    name: String,
}

/// The tests of a package, as they were built.
#[derive(Debug, Default)]
pub(crate) struct Tests(Vec<Test>);

impl Tests {
    /// The test of this path, or else the one whose path ends with it.
    ///
    /// # Errors
    /// There is none, or several.
    pub(crate) fn find(&self, name: &str) -> Result<Test, String> {
        let end = format!("::{name}");
        if let Some(exact) = self.0.iter().find(|test| test.name == name) {
            return Ok(exact.clone());
        }
        let mut fitting = self.0.iter().filter(|test| test.name.ends_with(&end));
        match (fitting.next(), fitting.next()) {
            (Some(test), None) => Ok(test.clone()),
            (None, _) => Err(format!("no test is named `{name}`")),
            (Some(one), Some(other)) => {
                Err(format!("`{name}` is `{}` and `{}`", one.name, other.name))
            }
        }
    }
}

/// The processes of one copy.
#[derive(Debug)]
pub(crate) struct Runner<'a> {
    copy: &'a Copy,
}

impl<'a> Runner<'a> {
    /// # Errors
    /// This process cannot take over what tests leave running.
    pub(crate) fn new(copy: &'a Copy) -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self { copy })
    }

    #[expect(clippy::disallowed_methods, reason = "a developer's command: cargo, tests, scenarios")]
    fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(directory)
            .env("CARGO_TARGET_DIR", &self.copy.target)
            // A test that fails here is no reason to write down how.
            .env("INSTA_UPDATE", "no")
            // The long forms show nothing more.
            .env_remove("RINGFENCE_SOAK")
            .env_remove(VARIABLE)
            .stdin(Stdio::null());
        command
    }

    fn cargo(&self) -> Command {
        let cargo = super::variable("CARGO").unwrap_or_else(|| "cargo".into());
        self.command(&cargo, &self.copy.tree)
    }

    /// Builds the tests of a package and lists them.
    ///
    /// # Errors
    /// It does not compile, or a test binary does not say what is in it.
    pub(crate) fn tests_of(&self, package: &str) -> Result<Tests, String> {
        let mut cargo = self.cargo();
        cargo.args(["test", "--locked", "--quiet", "--no-run", "--package", package]);
        cargo.args(["--lib", "--bins", "--tests", "--message-format", "json-render-diagnostics"]);
        // What the compiler warns of in a copy without its guards is nobody's business.
        let log = self.log(&format!("build-{package}"));
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let built = cargo.stderr(file).output().map_err(|error| format!("cargo: {error}"))?;
        if !built.status.success() {
            return Err(format!("{package} does not compile: see {}", log.display()));
        }
        let mut tests = Tests::default();
        for line in String::from_utf8_lossy(&built.stdout).lines() {
            if let Some((binary, directory)) = test_binary(line) {
                tests.0.extend(self.list(&binary, &directory)?);
            }
        }
        Ok(tests)
    }

    fn list(&self, binary: &Path, directory: &Path) -> Result<Vec<Test>, String> {
        let listed = self.command(binary, directory).args(["--list", "--format", "terse"]).output();
        let listed = listed.map_err(|error| format!("{}: {error}", binary.display()))?;
        let names = String::from_utf8_lossy(&listed.stdout);
        let names = names.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names
            .map(|name| Test {
                binary: binary.to_owned(),
                directory: directory.to_owned(),
                name: name.to_owned(),
            })
            .collect())
    }

    /// Runs a test, with a guard out or with none.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn test(
        &self,
        test: &Test,
        out: Option<&str>,
        limit: Duration,
    ) -> io::Result<(End, Duration)> {
        let mut command = self.command(&test.binary, &test.directory);
        command.args(["--exact", &test.name]).env("CARGO_MANIFEST_DIR", &test.directory);
        let log = out.map_or_else(|| format!("with-all-{}", test.name), str::to_owned);
        self.watch(command, &log, out, limit)
    }

    /// Builds what scenarios run.
    ///
    /// # Errors
    /// It does not compile.
    pub(crate) fn binaries(&self) -> Result<(), String> {
        let mut cargo = self.cargo();
        cargo.args(["build", "--locked", "--quiet", "--bins"]);
        cargo.args(["--package", "ringfence", "--package", "ringfenced"]);
        let log = self.log("build-binaries");
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let built = cargo.stderr(file).status().map_err(|error| format!("cargo: {error}"))?;
        if built.success() {
            Ok(())
        } else {
            Err(format!("the binaries do not compile: see {}", log.display()))
        }
    }

    /// Runs a scenario on a real machine. `images` is where images are kept.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn scenario(
        &self,
        number: &str,
        images: &Path,
        out: Option<&str>,
        limit: Duration,
    ) -> io::Result<(End, Duration)> {
        let mut command = self.command(&self.copy.tree.join("e2e/run"), &self.copy.tree);
        command
            .env("E2E_ONLY", number)
            .env("RINGFENCE_BIN", self.copy.target.join("debug"))
            .env("RINGFENCE_TEST_CACHE", images);
        let log = out.map_or_else(|| format!("with-all-scenario-{number}"), str::to_owned);
        self.watch(command, &log, out, limit)
    }

    /// Where the words of a test or build are.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.copy.logs.join(format!("{}.txt", name.replace("::", "-")))
    }

    fn watch(
        &self,
        mut command: Command,
        log: &str,
        out: Option<&str>,
        limit: Duration,
    ) -> io::Result<(End, Duration)> {
        if let Some(name) = out {
            command.env(VARIABLE, name);
        }
        let log = File::create(self.log(log))?;
        let began = Instant::now();
        // A group of its own, so that all of it can be ended.
        let mut child = command.process_group(0).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut status: Option<ExitStatus> = None;
        while status.is_none() && began.elapsed() <= limit {
            thread::sleep(LOOK);
            status = child.try_wait()?;
        }
        if status.is_none()
            && let Some(group) = Pid::from_raw(child.id().cast_signed())
        {
            rustix::process::kill_process_group(group, Signal::KILL)?;
        }
        let took = began.elapsed();
        end_orphans()?;
        let end = match status {
            Some(status) if status.success() => End::Passed,
            Some(_) => End::Failed,
            None => End::Stuck,
        };
        Ok((end, took))
    }
}

/// Ends what a test left running: such processes are children of this one by now, and so are
/// their children once they are gone. One that the kernel does not let end is left behind.
fn end_orphans() -> io::Result<()> {
    let until = Instant::now() + ENDING;
    loop {
        let children = children()?;
        if children.is_empty() || Instant::now() > until {
            return Ok(());
        }
        for child in children {
            // It may end by itself at any moment.
            let _ = rustix::process::kill_process(child, Signal::KILL);
            let _ = rustix::process::waitpid(Some(child), WaitOptions::NOHANG);
        }
        thread::sleep(LOOK);
    }
}

fn children() -> io::Result<Vec<Pid>> {
    let own = rustix::process::getpid();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        // One that is gone meanwhile has nobody to belong to.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // The name in brackets may hold anything; behind it come state and parent.
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        let parent = parent.and_then(|parent| parent.parse().ok()).and_then(Pid::from_raw);
        if parent == Some(own) {
            found.extend(pid.and_then(Pid::from_raw));
        }
    }
    Ok(found)
}

/// The test binary that a line of cargo's tells of, and its package's directory.
fn test_binary(line: &str) -> Option<(PathBuf, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let binary = message["executable"].as_str()?;
    let manifest = Path::new(message["manifest_path"].as_str()?);
    Some((binary.into(), manifest.parent()?.to_owned()))
}
