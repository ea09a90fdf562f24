//! How far a build is, read from what the tools print.
//!
//! Owns: the share of each step in the whole. Must not: do I/O.

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Waiting for another build, looking at the host.
    Preparing,
    /// Fetching package lists and packages.
    Downloading,
    /// Unpacking and configuring packages.
    Installing,
    /// Our own files, Node.js, kernel.
    Provisioning,
    /// Writing the file system.
    Writing,
    /// Compressing the disk.
    Compressing,
    /// Starting a throw-away machine (layers only).
    Starting,
    /// Installing an agent in it (layers only).
    Agent,
    /// Ready.
    Done,
}

impl Step {
    /// What is being done, as part of a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Downloading => "downloading packages",
            Self::Installing => "installing packages",
            Self::Provisioning => "setting the system up",
            Self::Writing => "writing the file system",
            Self::Compressing => "compressing the disk",
            Self::Starting => "starting a machine",
            Self::Agent => "installing the agent",
            Self::Done => "done",
        }
    }
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// How much of the whole is done; never falls.
    pub percent: f64,
}

/// Reads what mmdebstrap prints with `--verbose`: its own stages, and in them the words of apt and dpkg.
#[derive(Debug)]
pub struct Meter {
    line: Vec<u8>,
    stage: Stage,
    counted: Counted,
    now: Progress,
}

/// What was counted in one stage.
#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    wanted_kb: f64,
    fetched_kb: f64,
    packages: f64,
    handled: f64,
}

/// A stage of mmdebstrap: its step, and where it begins and ends in the whole.
type Stage = (Step, f64, f64);

/// What begins a stage. The shares were measured on an idle machine with a near mirror.
const STAGES: [(&str, Stage); 8] = [
    ("running apt-get update", (Step::Downloading, 1.0, 4.0)),
    ("downloading packages with apt", (Step::Downloading, 4.0, 9.0)),
    ("extracting archives", (Step::Installing, 9.0, 11.0)),
    ("installing essential packages", (Step::Installing, 11.0, 17.0)),
    ("installing remaining packages", (Step::Downloading, 17.0, 75.0)),
    ("provision.sh", (Step::Provisioning, 75.0, 84.0)),
    ("running special hook: download", (Step::Provisioning, 84.0, 85.0)),
    ("mke2fs", (Step::Writing, 85.0, 90.0)),
];

/// A stage longer than this both fetches and installs.
const LONG: f64 = 20.0;

/// Where compressing begins in the whole.
pub const COMPRESSING: f64 = 90.0;

impl Default for Meter {
    fn default() -> Self {
        Self {
            line: Vec::new(),
            stage: (Step::Preparing, 0.0, 1.0),
            counted: Counted::default(),
            now: Progress { step: Step::Preparing, percent: 0.0 },
        }
    }
}

impl Meter {
    /// Takes some output; returns how far the build is if that changed.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Progress> {
        let before = self.now;
        for byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                self.take_line();
            } else if self.line.len() < 4096 {
                self.line.push(*byte);
            }
        }
        (self.now != before).then_some(self.now)
    }

    /// What is being done.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.now.step
    }

    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        if let Some((_, stage)) = STAGES.iter().find(|(words, _)| text.contains(words)) {
            self.stage = *stage;
            self.counted = Counted::default();
            self.go(stage.0, stage.1);
            return;
        }
        self.count(text.trim());
        let (step, begin, end) = self.stage;
        let Counted { wanted_kb, fetched_kb, packages, handled } = self.counted;
        let part = |done: f64, all: f64| if all > 0.0 { (done / all).min(1.0) } else { 0.0 };
        // Each package is unpacked and set up.
        let (fetched, installed) = (part(fetched_kb, wanted_kb), part(handled, 2.0 * packages));
        let done = match step {
            Step::Downloading if end - begin > LONG => fetched.mul_add(0.3, installed * 0.7),
            Step::Downloading => fetched,
            _ => installed,
        };
        let step = if installed > 0.0 { Step::Installing } else { step };
        self.go(step, begin + (end - begin) * done);
    }

    /// Counts what apt and dpkg say about packages.
    fn count(&mut self, text: &str) {
        let counted = &mut self.counted;
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["Need", "to", "get", rest @ ..] => {
                // Either `12 MB of archives` or `12 MB/34 MB of archives`.
                let unit = rest.get(1).map(|unit| unit.split('/').next().unwrap_or_default());
                counted.wanted_kb = kilobytes(rest.first().copied(), unit);
            }
            [get, .., number, unit] if get.starts_with("Get:") => {
                let number = number.trim_start_matches('[');
                counted.fetched_kb += kilobytes(Some(number), Some(unit.trim_end_matches(']')));
            }
            [_, "upgraded,", new, "newly", "installed,", ..] => {
                counted.packages = new.parse().unwrap_or(0.0);
            }
            ["Unpacking", ..] | ["Setting", "up", ..] => counted.handled += 1.0,
            _ => {}
        }
    }

    fn go(&mut self, step: Step, percent: f64) {
        if percent > self.now.percent {
            self.now.percent = percent;
        }
        if step > self.now.step {
            self.now.step = step;
        }
    }
}

/// A size as apt prints it.
fn kilobytes(number: Option<&str>, unit: Option<&str>) -> f64 {
    let number: f64 = number.and_then(|text| text.replace(',', "").parse().ok()).unwrap_or(0.0);
    match unit {
        Some("B") => number / 1e3,
        Some("kB") => number,
        Some("MB") => number * 1e3,
        Some("GB") => number * 1e6,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_rises_through_all_steps() {
        let mut meter = Meter::default();
        let mut seen = Vec::new();
        for text in [
            "I: running apt-get update...\n",
            "I: downloading packages with apt...\n",
            "Need to get 1,000 kB of archives.\n",
            "Get:1 http://mirror/debian trixie/main amd64 bash amd64 5.2 [500 kB]\n",
            "I: installing essential packages...\n",
            "I: installing remaining packages inside the chroot...\n",
            "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.\n",
            "Need to get 2 MB/3 MB of archives.\n",
            "Get:1 http://mirror/debian trixie/main amd64 git amd64 2 [2,000 kB]\n",
            "Unpacking git (2) ...\nUnpac",
            "king jq (1) ...\nSetting up git (2) ...\n",
            "Setting up jq (1) ...\nSetting up something else (1) ...\n",
            "I: running --customize-hook in shell: sh -c '… provision.sh …'\n",
            "I: running --customize-hook in shell: sh -c 'mke2fs …'\n",
        ] {
            if let Some(now) = meter.feed(text.as_bytes()) {
                seen.push(now);
            }
        }
        assert!(seen.is_sorted_by(|a, b| a.percent <= b.percent && a.step <= b.step), "{seen:?}");
        assert_eq!(seen.last(), Some(&Progress { step: Step::Writing, percent: 85.0 }));
        assert!(seen.contains(&Progress { step: Step::Downloading, percent: 6.5 }), "{seen:?}");
        let three_of_four = 17.0 + 58.0 * (0.3 + 0.7 * 0.75);
        let near = |now: &Progress| (now.percent - three_of_four).abs() < 1e-9;
        assert!(seen.iter().any(near), "{seen:?}");
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut meter = Meter::default();
        assert_eq!(meter.feed(b"Need to get\nGet:x\n\xff\xfe\nNeed to get x MB\nSetting\n"), None);
        assert_eq!(meter.feed(&[b'x'; 100_000]), None);
    }
}
