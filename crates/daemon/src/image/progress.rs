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

/// Reads what mmdebstrap prints on its terminal.
#[derive(Debug)]
pub struct Meter {
    line: Vec<u8>,
    stage: Stage,
    now: Progress,
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

/// Where compressing begins in the whole.
pub const COMPRESSING: f64 = 90.0;

impl Default for Meter {
    fn default() -> Self {
        Self {
            line: Vec::new(),
            stage: (Step::Preparing, 0.0, 1.0),
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
            self.go(stage.0, stage.1);
            return;
        }
        let (step, begin, end) = self.stage;
        for (word, step, from, to) in [
            ("downloading:", Step::Downloading, 0.0, 0.4),
            ("installing:", Step::Installing, 0.4, 1.0),
        ] {
            if let Some(percent) = number_after(&text, word) {
                // Only the long stage has both halves.
                let (from, to) = if end - begin > 20.0 { (from, to) } else { (0.0, 1.0) };
                let part = from + (to - from) * percent / 100.0;
                self.go(step, begin + (end - begin) * part);
                return;
            }
        }
        self.go(step, begin);
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

fn number_after(text: &str, word: &str) -> Option<f64> {
    let rest = text.split_once(word)?.1.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().ok().filter(|number| (0.0..=100.0).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_rises_through_all_steps() {
        let mut meter = Meter::default();
        let mut seen = Vec::new();
        for text in [
            "\x1b[32mI\x1b[0m: running apt-get update...\n",
            "I: downloading packages with apt...\n",
            "\x1b[2Kdownloading:   50.00 [====>    ]\r",
            "I: installing essential packages...\n",
            "\x1b[2Kinstalling:   50.00 [===>",
            "     ]\r",
            "I: installing remaining packages inside the chroot...\n",
            "\x1b[2Kdownloading:   100.00 [===]\r",
            "\x1b[2Kinstalling:   10.00 [=  ]\r",
            "\x1b[2Kinstalling:   5.00 [=  ]\r",
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
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut meter = Meter::default();
        assert_eq!(meter.feed(b"downloading: 900.00\r\xff\xfe\ninstalling: x\r"), None);
        assert_eq!(meter.feed(&[b'x'; 100_000]), None);
    }
}
