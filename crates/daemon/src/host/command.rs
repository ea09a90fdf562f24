//! Outside programs: the one place that starts them.
//!
//! Owns: the environment they get (cleared, then allow-listed, always in the C
//! locale), their deadline, how much of their output is kept, and how a child that
//! outlives the daemon is started. Must not: know what any program prints; that
//! is the business of the one module that owns the program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

/// Variables of the daemon's own environment that every program may see.
const PASSED: [&str; 5] = ["PATH", "HOME", "TMPDIR", "USER", "LOGNAME"];

/// How much of each output stream is kept, in bytes, unless the caller says otherwise.
const KEPT: usize = 1 << 20;

/// Why an outside program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program is not installed, or not executable.
    #[error("`{program}` cannot be started: {source}")]
    Start {
        /// The program's name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Its output could not be read, or its input not written.
    #[error("`{program}`: {source}")]
    Pipe {
        /// The program's name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took longer than its deadline and was killed.
    #[error("`{program}` did not finish within {} seconds", .after.as_secs())]
    Deadline {
        /// The program's name.
        program: String,
        /// The deadline.
        after: Duration,
    },
    /// It ended with a failure.
    #[error("`{program}` failed ({status}): {tail}")]
    Failed {
        /// The program's name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        tail: String,
    },
}

impl CommandError {
    /// Whether the program is simply not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a program that ended well left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, cut at the limit.
    pub stdout: Vec<u8>,
    /// Its standard error, cut at the limit.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Standard output as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A child that may outlive the daemon, in a session of its own.
#[derive(Debug)]
pub struct Detached {
    /// The process; dropping it does not end it.
    pub child: tokio::process::Child,
    /// Its id, which is also its session's.
    pub pid: u32,
}

/// An outside program about to be started.
#[derive(Debug, Clone)]
pub struct Program {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    input: Vec<u8>,
    deadline: Option<Duration>,
    kept: usize,
}

impl Program {
    /// A program by name (searched in PATH) or by path.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            input: Vec::new(),
            deadline: None,
            kept: KEPT,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment. Never a secret: other processes of the user can read it.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Its working directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// What it reads on standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Kills it when it takes longer.
    #[must_use]
    pub const fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// How many bytes of each stream are kept; more is read and dropped.
    #[must_use]
    pub const fn keep(mut self, bytes: usize) -> Self {
        self.kept = bytes;
        self
    }

    /// The program's name for messages.
    fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this file owns the starting of programs and what they see of the environment"
    )]
    fn command(&self, program: &OsStr, args: &[OsString]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        command.args(args).env_clear();
        for name in PASSED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("LC_ALL", "C.UTF-8").env("LANG", "C.UTF-8");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn start_error(&self, source: io::Error) -> CommandError {
        CommandError::Start { program: self.name(), source }
    }

    fn pipe_error(&self, source: io::Error) -> CommandError {
        CommandError::Pipe { program: self.name(), source }
    }

    /// Runs it to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started, its pipes break, or the deadline passes.
    pub async fn run(self) -> Result<Finished, CommandError> {
        let mut command = self.command(&self.program, &self.args);
        command
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| self.start_error(error))?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let work = async {
            let feed = async {
                if let Some(mut stdin) = stdin {
                    // A program that does not read all of its input has its reasons; its exit says whether it failed.
                    match stdin.write_all(&self.input).await {
                        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                            return Err(error);
                        }
                        _ => {}
                    }
                }
                Ok(())
            };
            let ((), stdout, stderr) =
                tokio::try_join!(feed, kept(stdout, self.kept), kept(stderr, self.kept))?;
            Ok::<_, io::Error>(Finished { status: child.wait().await?, stdout, stderr })
        };
        let finished = match self.deadline {
            Some(after) => tokio::time::timeout(after, work)
                .await
                .map_err(|_| CommandError::Deadline { program: self.name(), after })?,
            None => work.await,
        };
        finished.map_err(|error| self.pipe_error(error))
    }

    /// Runs it to a successful end.
    ///
    /// # Errors
    /// As [`Program::run`], and when it fails.
    pub async fn check(self) -> Result<Finished, CommandError> {
        let program = self.name();
        let finished = self.run().await?;
        if finished.status.success() {
            return Ok(finished);
        }
        let tail = tail(&finished.stderr, 2000);
        Err(CommandError::Failed { program, status: finished.status, tail })
    }

    /// Starts it in a session of its own, so that it outlives the daemon and no terminal's
    /// signal reaches it. What it writes goes to `log`, which is made new.
    ///
    /// # Errors
    /// When the log cannot be made or the program not be started.
    pub fn detach(self, log: &Path) -> Result<Detached, CommandError> {
        let open = || {
            let file = File::create(log)?;
            Ok::<_, io::Error>((file.try_clone()?, file))
        };
        let (out, err) = open().map_err(|error| self.pipe_error(error))?;
        // `setsid` is the system's own tool; a hook between fork and exec would need unsafe code. A child that leads no
        // group does not fork in there, so the id is the program's.
        let mut args = vec![self.program.clone()];
        args.extend_from_slice(&self.args);
        let child = self
            .command(OsStr::new("setsid"), &args)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(false)
            .spawn()
            .map_err(|error| self.start_error(error))?;
        let pid = child.id().ok_or_else(|| self.pipe_error(io::ErrorKind::NotFound.into()))?;
        Ok(Detached { child, pid })
    }

    /// Starts it with the given standard streams; dropping the child kills it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(
        self,
        stdin: Stdio,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Result<tokio::process::Child, CommandError> {
        self.command(&self.program, &self.args)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.start_error(error))
    }
}

/// The last `most` bytes of a program's words, as one readable text.
#[must_use]
pub fn tail(bytes: &[u8], most: usize) -> String {
    let from = bytes.len().saturating_sub(most);
    String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
}

/// Reads a stream to its end, keeping the first `most` bytes.
async fn kept(stream: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<Vec<u8>> {
    let Some(mut stream) = stream else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(found);
        }
        let room = most.saturating_sub(found.len()).min(count);
        found.extend_from_slice(&chunk[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Program {
        Program::new("sh").args(["-c", script])
    }

    #[tokio::test]
    async fn a_program_sees_only_what_is_listed() {
        let finished = sh("env")
            .env("EXTRA", "1")
            .deadline(Duration::from_secs(20))
            .check()
            .await
            .expect("runs");
        let text = finished.text();
        assert!(text.contains("LC_ALL=C.UTF-8") && text.contains("EXTRA=1"), "{text}");
        assert!(!text.contains("CARGO"), "{text}");
    }

    #[tokio::test]
    async fn failures_say_which_and_why() {
        let error = sh("echo wrong >&2; exit 3").check().await.expect_err("fails");
        assert!(error.to_string().contains("`sh` failed") && error.to_string().contains("wrong"));
        let error = Program::new("no-such-program-here").check().await.expect_err("missing");
        assert!(error.is_missing(), "{error}");
        let error =
            sh("sleep 30").deadline(Duration::from_millis(50)).run().await.expect_err("slow");
        assert!(matches!(error, CommandError::Deadline { .. }), "{error}");
    }

    #[tokio::test]
    async fn much_output_is_cut_and_input_is_fed() {
        let finished = sh("cat; yes | head -c 3000000")
            .input("given\n")
            .keep(4096)
            .check()
            .await
            .expect("runs");
        assert_eq!(finished.stdout.len(), 4096);
        assert!(finished.stdout.starts_with(b"given\n"));
    }

    #[tokio::test]
    async fn a_detached_child_leads_its_own_session() {
        let directory = tempfile::tempdir().expect("directory");
        let log = directory.path().join("log");
        let mut detached = sh("ps -o sid= -p $$; echo $$").detach(&log).expect("starts");
        detached.child.wait().await.expect("ends");
        let text = std::fs::read_to_string(&log).expect("log");
        let numbers: Vec<u32> =
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert_eq!(numbers, [detached.pid, detached.pid]);
    }
}
