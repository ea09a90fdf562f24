//! `cargo xtask guards`: takes out each guard of the table, one at a time and in a copy, and
//! says whether the test that is to show it turns red. Owns the order of that and the verdict.

mod copy;
mod run;
mod switch;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use copy::Copy;
use run::{End, Runner, Test};
use table::{Guard, Table};

const HELP: &str = "\
usage: cargo xtask guards [--list] [--e2e] [WORD…]

Takes each guard of crates/xtask/guards.toml out, one at a time, in a copy of the repository
below the target directory, and runs the test that is to show it: that test must turn red.
WORD: only guards with this in their name, rule, file or test; `promise 3` means a promise.
--list prints the table; --e2e runs scenarios on real machines as well.";

/// The least time that a test may take, and how often the time it took with all guards in place.
const LEAST: Duration = Duration::from_secs(60);
const TIMES: u32 = 5;
/// Scenarios have a limit of their own.
const SCENARIO: Duration = Duration::from_secs(30 * 60);

/// What was seen of one guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Red(Duration),
    /// Red because it did not end.
    Stuck(Duration),
    NotRed(Duration),
    /// Not looked at: only root would see it.
    NeedsRoot,
}

/// # Errors
/// What keeps the guards from being looked at at all.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's command that reports to its terminal"
)]
pub(crate) fn command(root: &Path, arguments: &[String]) -> Result<ExitCode, String> {
    let (options, words): (Vec<_>, Vec<_>) =
        arguments.iter().cloned().partition(|argument| argument.starts_with('-'));
    let on = |name: &str| options.iter().any(|option| option == name);
    if let Some(other) = options.iter().find(|name| !["--list", "--e2e"].contains(&name.as_str())) {
        eprintln!("{HELP}");
        let help = ["--help", "-h"].contains(&other.as_str());
        return Ok(if help { ExitCode::SUCCESS } else { ExitCode::from(2) });
    }
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let built = variable("CARGO_TARGET_DIR").unwrap_or_else(|| root.join("target"));
    let copy = Copy::of(&root, built.clone());
    let sources = copy.sources().map_err(|error| format!("reading the repository: {error}"))?;
    let table = Table::read(sources.get(table::FILE).map_or("", String::as_str))?;
    let problems = table.problems(&sources);
    if !problems.is_empty() {
        return Err(format!("{} does not fit the sources:\n{}", table::FILE, problems.join("\n")));
    }
    let chosen: Vec<&Guard> = table
        .guards
        .iter()
        .filter(|guard| {
            guard.is_meant(&words) && (on("--e2e") || on("--list") || guard.test.is_some())
        })
        .collect();
    if chosen.is_empty() {
        return Err(format!("no guard fits {words:?}"));
    }
    if on("--list") {
        for guard in &chosen {
            let by = guard.test.as_ref().or(guard.scenario.as_ref()).map_or("", String::as_str);
            println!("{:<34} {:?} {}\n{:<34} {by}", guard.name, guard.promises, guard.rule, "");
        }
        println!("{} guards", chosen.len());
        return Ok(ExitCode::SUCCESS);
    }
    let images = variable("RINGFENCE_TEST_CACHE").unwrap_or_else(|| built.join("test-cache"));
    let run = Run {
        runner: Runner::new(&copy).map_err(|error| error.to_string())?,
        copy: &copy,
        table: &table,
        sources: &sources,
        images,
    };
    let seen = run.all(&chosen)?;
    Ok(verdict(&run, &chosen, &seen))
}

/// A path that the environment names.
#[expect(clippy::disallowed_methods, reason = "a developer's command, which is the edge")]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

struct Run<'a> {
    copy: &'a Copy,
    runner: Runner<'a>,
    table: &'a Table,
    sources: &'a BTreeMap<String, String>,
    images: PathBuf,
}

impl Run<'_> {
    fn all<'g>(&self, chosen: &[&'g Guard]) -> Result<BTreeMap<&'g str, Seen>, String> {
        let mut seen = BTreeMap::new();
        let mut packages: BTreeMap<String, Vec<&Guard>> = BTreeMap::new();
        for guard in chosen.iter().filter(|guard| guard.test.is_some()) {
            packages.entry(Table::package(guard, self.sources)?).or_default().push(guard);
        }
        self.bring(None)?;
        self.copy
            .seed(self.sources)
            .map_err(|error| format!("taking over what is built: {error}"))?;
        // The time that each test takes with every guard in place, by package and name.
        let mut usual = BTreeMap::new();
        for (package, guards) in &packages {
            say(&format!("building the tests of {package}"));
            let tests = self.runner.tests_of(package)?;
            for guard in guards {
                let test = tests
                    .find(test_name(guard))
                    .map_err(|why| format!("`{}`: {why}", guard.name))?;
                let took = self.green(&test, guard)?;
                usual.insert(guard.name.as_str(), took);
                if !guard.build {
                    let outcome = self.without(guard, &test, took)?;
                    tell(guard, outcome);
                    seen.insert(guard.name.as_str(), outcome);
                }
            }
        }
        for (package, guards) in &packages {
            for guard in guards.iter().filter(|guard| guard.build) {
                say(&format!("building {package} without {}", guard.name));
                self.bring(Some(guard))?;
                let tests = self.runner.tests_of(package)?;
                let test = tests.find(test_name(guard))?;
                let took = usual.get(guard.name.as_str()).copied().unwrap_or_default();
                let outcome = self.without(guard, &test, took)?;
                tell(guard, outcome);
                seen.insert(guard.name.as_str(), outcome);
            }
        }
        self.machines(chosen, &mut seen)?;
        Ok(seen)
    }

    fn machines<'g>(
        &self,
        chosen: &[&'g Guard],
        seen: &mut BTreeMap<&'g str, Seen>,
    ) -> Result<(), String> {
        let mut scenarios: BTreeSet<&str> = BTreeSet::new();
        for guard in chosen {
            let Some(number) = guard.scenario.as_deref() else { continue };
            let run = |out| {
                self.runner
                    .scenario(number, &self.images, out, SCENARIO)
                    .map_err(|error| format!("scenario {number}: {error}"))
            };
            if scenarios.insert(number) {
                say(&format!("building what scenario {number} runs"));
                self.bring(None)?;
                self.runner.binaries()?;
                let (end, _) = run(None)?;
                if end != End::Passed {
                    let log = self.runner.log(&format!("with-all-scenario-{number}"));
                    return Err(format!(
                        "scenario {number} is not green with every guard in place: see {}",
                        log.display()
                    ));
                }
            }
            if guard.build {
                self.bring(Some(guard))?;
                self.runner.binaries()?;
                // The next one begins with every guard in place.
                scenarios.clear();
            }
            let outcome = outcome(run(Some(&guard.name))?);
            tell(guard, outcome);
            seen.insert(guard.name.as_str(), outcome);
        }
        Ok(())
    }

    fn bring(&self, alone: Option<&Guard>) -> Result<(), String> {
        let texts = switch::texts(self.table, alone, self.sources)?;
        self.copy.bring(&texts).map_err(|error| format!("making the copy: {error}"))
    }

    /// With every guard in place the test must be green.
    fn green(&self, test: &Test, guard: &Guard) -> Result<Duration, String> {
        let (end, took) =
            self.runner.test(test, None, 10 * LEAST).map_err(|error| error.to_string())?;
        if end == End::Passed {
            Ok(took)
        } else {
            let name = test_name(guard);
            Err(format!("`{name}` is not green with every guard in place"))
        }
    }

    fn without(&self, guard: &Guard, test: &Test, usual: Duration) -> Result<Seen, String> {
        if guard.root && !rustix::process::geteuid().is_root() {
            return Ok(Seen::NeedsRoot);
        }
        let limit = LEAST.max(usual * TIMES);
        let ran = self.runner.test(test, Some(&guard.name), limit);
        Ok(outcome(ran.map_err(|error| error.to_string())?))
    }
}

fn outcome((end, took): (End, Duration)) -> Seen {
    match end {
        End::Passed => Seen::NotRed(took),
        End::Failed => Seen::Red(took),
        End::Stuck => Seen::Stuck(took),
    }
}

fn test_name(guard: &Guard) -> &str {
    guard.test.as_deref().unwrap_or_default()
}

#[expect(clippy::print_stderr, reason = "a developer's command that reports to its terminal")]
fn say(text: &str) {
    eprintln!("guards: {text}");
}

fn words(seen: Seen) -> (&'static str, Duration) {
    match seen {
        Seen::Red(took) => ("red", took),
        Seen::Stuck(took) => ("red (stuck)", took),
        Seen::NotRed(took) => ("NOT RED", took),
        Seen::NeedsRoot => ("needs root", Duration::ZERO),
    }
}

#[expect(clippy::print_stdout, reason = "a developer's command that reports to its terminal")]
fn tell(guard: &Guard, seen: Seen) {
    let (word, took) = words(seen);
    println!("{word:<12} {:>6.1} s  {:<34} {}", took.as_secs_f32(), guard.name, guard.rule);
}

#[expect(clippy::print_stdout, reason = "a developer's command that reports to its terminal")]
fn verdict(run: &Run<'_>, chosen: &[&Guard], seen: &BTreeMap<&str, Seen>) -> ExitCode {
    let count = |wanted: fn(&Seen) -> bool| seen.values().filter(|seen| wanted(seen)).count();
    let red = count(|seen| matches!(seen, Seen::Red(_) | Seen::Stuck(_)));
    let rest = count(|seen| *seen == Seen::NeedsRoot);
    println!("\nguards: {red} red, {} not red, {rest} not looked at", chosen.len() - red - rest);
    for guard in chosen {
        if let Some(Seen::NotRed(_)) = seen.get(guard.name.as_str()) {
            let by = guard.test.as_ref().or(guard.scenario.as_ref()).map_or("", String::as_str);
            println!(
                "NOT RED: {}: {}\n    without it `{by}` still passes: see {}",
                guard.name,
                guard.rule,
                run.runner.log(&guard.name).display()
            );
        }
    }
    if red + rest == chosen.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
