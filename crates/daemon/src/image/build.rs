//! Building the base image: the only place that runs `mmdebstrap` and `mke2fs`.
//!
//! Owns: the order of a build and what it may see of the host. Packages are fetched and
//! verified by apt with the distribution's own key. Must not: leave anything of the host in
//! the image: its proxy and its authorities are used on the way and not kept.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr};

use crate::engine::qemu::disk::{self, Source};
use crate::host::command::{CommandError, Program, tail};
use crate::image::ImageError;
use crate::image::base;
use crate::image::host::{Builder, check};
use crate::image::progress::{COMPRESSING, Meter, Progress, Step};
use crate::image::store::{DISK, INITRD, Image, KERNEL, Kind, Store};

/// Where packages come from when nothing else is said.
pub const MIRROR: &str = "http://deb.debian.org/debian";

/// No build takes longer, unless it hangs.
const LONGEST: Duration = Duration::from_secs(3600);

/// How the host reaches packages, and who builds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The mirror of Debian's packages.
    pub mirror: String,
    /// The host's list of certificate authorities, for what is fetched over HTTPS.
    pub authorities: Option<PathBuf>,
    /// Variables of the host that say how to reach the net: `http_proxy`, `PIP_INDEX_URL`, …
    pub network: Vec<(OsString, OsString)>,
    /// Who builds.
    pub builder: Builder,
}

/// Builds the base image, or returns the one that is there. `report` hears how far it is.
///
/// # Errors
/// When the host lacks something, the mirror is not reached, or a step fails; then nothing is left.
pub async fn build(
    store: &Store,
    settings: &Settings,
    mut report: impl FnMut(Progress),
) -> Result<Image, ImageError> {
    let id = base::id();
    report(Progress { step: Step::Preparing, percent: 0.0 });
    if let Some(image) = store.find(&id) {
        return Ok(image);
    }
    check(&settings.builder).await?;
    let locked = store.lock().await?;
    // Another builder may have made it while this one waited.
    if let Some(image) = store.find(&id) {
        return Ok(image);
    }
    let place = locked.workplace()?;
    let raw = place.path().join("disk.raw");
    unpack(place.path(), &raw, settings, &mut report).await?;
    let compressed = |percent: f64| {
        let whole = COMPRESSING + percent * (99.0 - COMPRESSING) / 100.0;
        report(Progress { step: Step::Compressing, percent: whole });
    };
    disk::compress(Source::Raw(&raw), &place.path().join(DISK), compressed).await?;
    for name in ["disk.raw", "early.tar", "late.tar", "build.log"] {
        let path = place.path().join(name);
        std::fs::remove_file(&path).map_err(ImageError::file(&path))?;
    }
    let kind = Kind::Base { imported: false };
    let names = [DISK, KERNEL, INITRD, "packages.lock"];
    let image = locked.finish(place, &id, kind, &names)?;
    report(Progress { step: Step::Done, percent: 100.0 });
    Ok(image)
}

/// Runs mmdebstrap up to a file system in `raw`.
async fn unpack(
    place: &Path,
    raw: &Path,
    settings: &Settings,
    report: &mut impl FnMut(Progress),
) -> Result<(), ImageError> {
    for (name, content) in [("early.tar", base::early_files()), ("late.tar", base::late_files())] {
        let path = place.join(name);
        std::fs::write(&path, content).map_err(ImageError::file(path))?;
    }
    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(raw)
        .map_err(ImageError::file(raw))?;
    let size = || {
        disk.set_len(base::ROOT_SIZE)?;
        // Without root the file system is written by another id of the user's namespace, which opens this file by the
        // descriptor it inherits. The directory around is closed to everybody else.
        disk.set_permissions(std::fs::Permissions::from_mode(0o666))
    };
    size().map_err(ImageError::file(raw))?;
    let mut program = mmdebstrap(&settings.builder)
        .args(arguments(settings))
        .directory(place)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    for (name, value) in &settings.network {
        program = program.env(name, value);
    }
    if settings.builder.root {
        // Swept with the rest when this is killed. Without root the namespace's ids could not reach it.
        program = program.env("TMPDIR", place);
    }
    let log = place.join("build.log");
    let child = program.spawn(disk.into(), Stdio::null(), Stdio::piped())?;
    let mut tied = Tied { child: Some(child), root: settings.builder.root };
    let mut meter = Meter::default();
    let work = async {
        let child = tied.child.as_mut().ok_or(std::io::ErrorKind::NotFound)?;
        let printed = watch(child.stderr.take(), &mut meter, report).await?;
        Ok::<_, std::io::Error>((child.wait().await?, printed))
    };
    let (status, printed) = tokio::time::timeout(LONGEST, work)
        .await
        .map_err(|_| CommandError::Deadline { program: "mmdebstrap".into(), after: LONGEST })?
        .map_err(ImageError::file(place))?;
    std::fs::write(&log, &printed).map_err(ImageError::file(log))?;
    if status.success() { Ok(()) } else { Err(failure(settings, meter.step(), &printed)) }
}

/// The way to mmdebstrap, which ends with the daemon, even if that is killed.
///
/// As root it mounts parts of the host in the tree that it makes: `/proc`, `/sys`, devices. So it gets namespaces of its
/// own, which end with it: nobody else ever sees those mounts, and whoever sweeps up after it cannot walk into them.
/// Without root it makes such namespaces itself.
///
/// The kernel sends the signal when the *thread* ends that started the program; the runtime's own threads live as long
/// as the daemon.
fn mmdebstrap(builder: &Builder) -> Program {
    let tied = Program::new("setpriv");
    if builder.root {
        tied.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--", "mmdebstrap"])
    } else {
        tied.args(["--pdeathsig", "TERM", "--", "mmdebstrap"])
    }
}

/// A build that is given up when this is dropped: asked to end, and killed if it does not.
struct Tied {
    child: Option<Child>,
    /// As root there is nothing that it would have to put away, and the wrapper does not pass a request on.
    root: bool,
}

/// How long a build may take to put away what it made: files of other ids, which only it can remove.
const PUTS_AWAY: Duration = Duration::from_secs(30);

impl Drop for Tied {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take().filter(|_| !self.root) else { return };
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (Some(pid), Ok(runtime)) = (pid, tokio::runtime::Handle::try_current()) else { return };
        // It may have ended just now, which is what is wanted.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        runtime.spawn(async move {
            // Dropped at the end, which kills it.
            let _ = tokio::time::timeout(PUTS_AWAY, child.wait()).await;
        });
    }
}

/// Reads what is printed to its end; keeps the last part.
async fn watch(
    stream: Option<ChildStderr>,
    meter: &mut Meter,
    report: &mut impl FnMut(Progress),
) -> std::io::Result<Vec<u8>> {
    const KEPT: usize = 256 << 10;
    let mut printed = Vec::new();
    let mut chunk = [0; 8192];
    let Some(mut stream) = stream else { return Ok(printed) };
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(printed);
        }
        if let Some(now) = meter.feed(&chunk[..count]) {
            report(now);
        }
        printed.extend_from_slice(&chunk[..count]);
        if printed.len() > 2 * KEPT {
            printed.drain(..printed.len() - KEPT);
        }
    }
}

fn arguments(settings: &Settings) -> Vec<OsString> {
    let mut list: Vec<OsString> = Vec::new();
    let mut add = |word: String| list.push(word.into());
    add(format!("--mode={}", if settings.builder.root { "root" } else { "unshare" }));
    for word in [
        // Only so does it print what apt and dpkg do, which tells how far they are.
        "--verbose",
        "--variant=minbase",
        "--format=null",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--essential-hook=tar-in early.tar /",
        "--customize-hook=tar-in late.tar /",
    ] {
        add(word.to_owned());
    }
    add(format!("--architectures={}", base::ARCHITECTURE));
    add(format!("--include={}", base::packages()));
    let trust = match &settings.authorities {
        Some(bundle) => {
            add(format!("--customize-hook=upload {} /tmp/host-ca.pem", quoted(bundle)));
            "SSL_CERT_FILE=/tmp/host-ca.pem PIP_CERT=/tmp/host-ca.pem "
        }
        None => "",
    };
    add(format!(
        "--customize-hook={trust}chroot \"$1\" sh /usr/lib/ringfence/provision.sh >&2 && rm -f \"$1/tmp/host-ca.pem\""
    ));
    for name in [KERNEL, INITRD] {
        add(format!("--customize-hook=download /boot/ringfence/{name} {name}"));
    }
    add("--customize-hook=download /usr/lib/ringfence/packages.lock packages.lock".to_owned());
    // A second look at the root alone, without what mmdebstrap mounted in it. The disk is this hook's standard input.
    add("--customize-hook=rm -rf \"$1\"/boot/* \"$1/etc/resolv.conf\" \"$1/etc/hostname\" && \
         mount --bind \"$1\" \"$1/mnt\" && \
         mke2fs -q -F -t ext4 -L root -m 1 -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 \
         -d \"$1/mnt\" /proc/self/fd/0 >&2 && umount \"$1/mnt\""
        .to_owned());
    add(base::SUITE.to_owned());
    add("/dev/null".to_owned());
    add(settings.mirror.clone());
    list
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

fn failure(settings: &Settings, step: Step, printed: &[u8]) -> ImageError {
    let text = tail(printed, 6000);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n");
    let unreachable = [
        "Could not resolve",
        "Temporary failure resolving",
        "Could not connect",
        "Network is unreachable",
        "Connection refused",
        "connection timed out",
    ];
    if step <= Step::Downloading && unreachable.iter().any(|words| text.contains(words)) {
        return ImageError::Offline { mirror: settings.mirror.clone(), tail };
    }
    ImageError::Build { step: step.words(), tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            mirror: "http://127.0.0.1:9/debian".to_owned(),
            authorities: Some("/etc/it's here.pem".into()),
            network: Vec::new(),
            builder: Builder {
                root: rustix::process::geteuid().is_root(),
                user: "ann".to_owned(),
                uid: 1000,
            },
        }
    }

    #[test]
    fn the_command_line() {
        let mut settings = settings();
        settings.builder.root = false;
        let list: Vec<String> =
            arguments(&settings).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let text = list.join("\n").replace(&base::packages(), "PACKAGES");
        insta::assert_snapshot!(text);
    }

    #[tokio::test]
    async fn without_a_mirror_the_way_out_is_named_and_nothing_is_left() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::new(directory.path().join("images"));
        let mut settings = settings();
        settings.authorities = None;
        let error = build(&store, &settings, |_| {}).await.expect_err("nobody listens there");
        assert!(matches!(error, ImageError::Offline { .. }), "{error:?}");
        assert!(error.to_string().contains("ringfence image build --from FILE"), "{error}");
        let left: Vec<_> = std::fs::read_dir(directory.path().join("images"))
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(left, [".lock"]);
    }
}
