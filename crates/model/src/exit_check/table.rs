//! What a path means to the tools of a host, beside git: one table, by names alone. Owns
//! the table; a new tool is a line in it and a line in its test.

use super::{Danger, HazardKind};
use crate::bytes::directories_above;

/// How a line of the table fits a path. Letters count alike, large or small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The last name of the path.
    Name(&'static str),
    /// The end of the last name.
    End(&'static str),
    /// The beginning of the last name.
    Start(&'static str),
    /// The last names of the path.
    Path(&'static str),
    /// Everything in a directory of these names.
    In(&'static str),
}

/// Whether the content decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matter {
    /// Any change counts.
    Any,
    /// Only what these keys of a JSON or TOML file hold counts.
    Keys(&'static [&'static str]),
    /// Any change counts, and these keys are worth naming.
    Named(&'static [&'static str]),
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) kind: HazardKind,
    pub(super) danger: Danger,
    pub(super) why: &'static str,
    pub(super) matter: Matter,
}

const CLAUDE: &[&str] = &[
    "hooks",
    "permissions",
    "env",
    "mcpServers",
    "apiKeyHelper",
    "statusLine",
    "enableAllProjectMcpServers",
    "enabledMcpjsonServers",
];
const PACKAGE: &[&str] =
    &["scripts", "bin", "husky", "simple-git-hooks", "gitHooks", "pre-commit", "lint-staged"];
const PYPROJECT: &[&str] = &[
    "build-system",
    "tool.hatch",
    "tool.pdm",
    "tool.poe",
    "tool.poetry.build",
    "tool.poetry.scripts",
    "tool.pytest",
    "tool.setuptools",
    "tool.taskipy",
    "tool.tox",
];
const CARGO: &[&str] = &["package.build", "lib.proc-macro", "build-dependencies", "patch"];

use Danger::{Obeyed, RunsWhenUsed as Used};
use Fit::{End, In, Name, Path, Start};
use HazardKind::{Agent, Build, Ci, Editor, GitHook, StartUp};
use Matter::{Any, Keys, Named};

type Line = (Fit, HazardKind, Danger, &'static str, Matter);

/// The first line that fits counts.
const TABLE: &[Line] = &[
    // Hooks of git that tools install, or that are run where a repository says so.
    (In(".husky"), GitHook, Used, "husky runs it as a git hook", Any),
    (In(".githooks"), GitHook, Used, "often run as a git hook", Any),
    (In(".git-hooks"), GitHook, Used, "often run as a git hook", Any),
    (In(".lefthook"), GitHook, Used, "lefthook runs it as a git hook", Any),
    (Name(".pre-commit-config.yaml"), GitHook, Used, "git hooks of pre-commit", Any),
    (Name(".pre-commit-hooks.yaml"), GitHook, Used, "git hooks of pre-commit", Any),
    (Name("lefthook.yml"), GitHook, Used, "git hooks of lefthook", Any),
    (Name(".lefthook.yml"), GitHook, Used, "git hooks of lefthook", Any),
    (Name(".overcommit.yml"), GitHook, Used, "git hooks of overcommit", Any),
    (Start(".lintstagedrc"), GitHook, Used, "commands that run at a commit", Any),
    (Start("lint-staged.config."), GitHook, Used, "commands that run at a commit", Any),
    (Start(".simple-git-hooks."), GitHook, Used, "git hooks of simple-git-hooks", Any),
    (Path(".hg/hgrc"), GitHook, Used, "Mercurial's hooks and extensions", Any),
    (Name(".gitattributes"), GitHook, Obeyed, "which filters git applies", Any),
    (Path("info/attributes"), GitHook, Obeyed, "which filters git applies", Any),
    (Name(".gitmodules"), GitHook, Obeyed, "where submodules come from", Any),
    // Agents.
    (Path(".claude/settings.json"), Agent, Used, "settings of Claude Code", Named(CLAUDE)),
    (Path(".claude/settings.local.json"), Agent, Used, "settings of Claude Code", Named(CLAUDE)),
    (In(".claude"), Agent, Used, "Claude Code reads or runs it", Any),
    (Name(".mcp.json"), Agent, Used, "servers that agents start", Any),
    (Path(".cursor/mcp.json"), Agent, Used, "servers that agents start", Any),
    (Path(".vscode/mcp.json"), Agent, Used, "servers that agents start", Any),
    (In(".codex"), Agent, Used, "settings of Codex", Any),
    (In(".gemini"), Agent, Used, "settings of Gemini CLI", Any),
    (In(".qwen"), Agent, Used, "settings of Qwen Code", Any),
    (In(".opencode"), Agent, Used, "settings of opencode", Any),
    (Name("opencode.json"), Agent, Used, "settings of opencode", Any),
    (Name("opencode.jsonc"), Agent, Used, "settings of opencode", Any),
    (Start(".aider.conf"), Agent, Used, "settings of aider, with commands", Any),
    (In(".goose"), Agent, Used, "settings of goose", Any),
    (In(".kiro"), Agent, Used, "settings of Kiro", Any),
    (In(".amazonq"), Agent, Used, "settings of Amazon Q", Any),
    (In(".continue"), Agent, Used, "settings of Continue", Any),
    (In(".roo"), Agent, Used, "settings of Roo", Any),
    (In(".cursor"), Agent, Obeyed, "rules for Cursor", Any),
    (In(".windsurf"), Agent, Obeyed, "rules for Windsurf", Any),
    (In(".clinerules"), Agent, Obeyed, "rules for Cline", Any),
    (In(".junie"), Agent, Obeyed, "rules for Junie", Any),
    (Start("CLAUDE."), Agent, Obeyed, "instructions that agents obey", Any),
    (Start("AGENTS."), Agent, Obeyed, "instructions that agents obey", Any),
    (Name("GEMINI.md"), Agent, Obeyed, "instructions that agents obey", Any),
    (Name("QWEN.md"), Agent, Obeyed, "instructions that agents obey", Any),
    (Name(".cursorrules"), Agent, Obeyed, "instructions that agents obey", Any),
    (Name(".windsurfrules"), Agent, Obeyed, "instructions that agents obey", Any),
    (Name(".goosehints"), Agent, Obeyed, "instructions that agents obey", Any),
    (Name("copilot-instructions.md"), Agent, Obeyed, "instructions that agents obey", Any),
    (Name(".ringfence.toml"), Agent, Obeyed, "what the folder asks of Ringfence", Any),
    // Editors, and what they build.
    (Path(".vscode/extensions.json"), Editor, Obeyed, "extensions that VS Code offers", Any),
    (In(".vscode"), Editor, Used, "tasks and settings of VS Code", Any),
    (End(".code-workspace"), Editor, Used, "tasks and settings of VS Code", Any),
    (In(".idea"), Editor, Used, "JetBrains' settings and run configurations", Any),
    (In(".run"), Editor, Used, "JetBrains' run configurations", Any),
    (In(".fleet"), Editor, Used, "run configurations of Fleet", Any),
    (In(".zed"), Editor, Used, "tasks and settings of Zed", Any),
    (In(".helix"), Editor, Used, "language servers of Helix", Any),
    (In(".vs"), Editor, Used, "tasks of Visual Studio", Any),
    (End(".sublime-project"), Editor, Used, "build systems of Sublime Text", Any),
    (Name(".dir-locals.el"), Editor, Used, "Emacs evaluates it", Any),
    (Name(".nvim.lua"), Editor, Used, "Neovim runs it", Any),
    (Name(".nvimrc"), Editor, Used, "Neovim runs it", Any),
    (Name(".exrc"), Editor, Used, "vi runs it", Any),
    (Name(".vimrc"), Editor, Used, "vi runs it", Any),
    (Name(".lvimrc"), Editor, Used, "vi runs it", Any),
    (In(".devcontainer"), Editor, Used, "a container that an editor builds and enters", Any),
    (Name(".devcontainer.json"), Editor, Used, "a container that an editor builds and enters", Any),
    (Name(".gitpod.yml"), Editor, Used, "a workspace that is built and entered", Any),
    (End(".desktop"), Editor, Used, "a desktop starts it", Any),
    // Start-up files.
    (Name(".envrc"), StartUp, Used, "direnv runs it", Any),
    (Name("mise.toml"), StartUp, Used, "mise runs its hooks and tasks", Any),
    (Name(".mise.toml"), StartUp, Used, "mise runs its hooks and tasks", Any),
    (Name(".bashrc"), StartUp, Used, "a shell runs it", Any),
    (Name(".bash_profile"), StartUp, Used, "a shell runs it", Any),
    (Name(".profile"), StartUp, Used, "a shell runs it", Any),
    (Name(".zshrc"), StartUp, Used, "a shell runs it", Any),
    (Name(".zshenv"), StartUp, Used, "a shell runs it", Any),
    (Name(".gdbinit"), StartUp, Used, "a debugger runs it", Any),
    (Name(".lldbinit"), StartUp, Used, "a debugger runs it", Any),
    (Name(".irbrc"), StartUp, Used, "an interpreter runs it", Any),
    (Name(".pryrc"), StartUp, Used, "an interpreter runs it", Any),
    (Name(".tmux.conf"), StartUp, Used, "tmux runs it", Any),
    (Name(".user.ini"), StartUp, Used, "PHP obeys it", Any),
    (Name("sitecustomize.py"), StartUp, Used, "Python runs it when it starts", Any),
    (Name("usercustomize.py"), StartUp, Used, "Python runs it when it starts", Any),
    (End(".pth"), StartUp, Used, "Python runs it when it starts", Any),
    // Servers.
    (In(".github/workflows"), Ci, Used, "a workflow of GitHub", Any),
    (In(".github/actions"), Ci, Used, "an action of GitHub", Any),
    (Name("action.yml"), Ci, Used, "an action of GitHub", Any),
    (In(".forgejo/workflows"), Ci, Used, "a workflow of Forgejo", Any),
    (In(".gitea/workflows"), Ci, Used, "a workflow of Gitea", Any),
    (Name(".gitlab-ci.yml"), Ci, Used, "a pipeline of GitLab", Any),
    (In(".circleci"), Ci, Used, "a pipeline of CircleCI", Any),
    (In(".buildkite"), Ci, Used, "a pipeline of Buildkite", Any),
    (In(".woodpecker"), Ci, Used, "a pipeline of Woodpecker", Any),
    (Name(".woodpecker.yml"), Ci, Used, "a pipeline of Woodpecker", Any),
    (Name(".drone.yml"), Ci, Used, "a pipeline of Drone", Any),
    (Name(".travis.yml"), Ci, Used, "a pipeline of Travis", Any),
    (Name(".cirrus.yml"), Ci, Used, "a pipeline of Cirrus", Any),
    (Name("Jenkinsfile"), Ci, Used, "a pipeline of Jenkins", Any),
    (Name("azure-pipelines.yml"), Ci, Used, "a pipeline of Azure", Any),
    (Name("bitbucket-pipelines.yml"), Ci, Used, "a pipeline of Bitbucket", Any),
    (Name("cloudbuild.yaml"), Ci, Used, "a pipeline of Google Cloud", Any),
    // Building and testing.
    (Name("package.json"), Build, Used, "npm runs it", Keys(PACKAGE)),
    (Name("composer.json"), Build, Used, "composer runs it", Keys(&["scripts"])),
    (Name("deno.json"), Build, Used, "deno runs it", Keys(&["tasks"])),
    (Name("pyproject.toml"), Build, Used, "Python's tools run it", Keys(PYPROJECT)),
    (Name("Cargo.toml"), Build, Used, "cargo runs it", Keys(CARGO)),
    (Name("build.rs"), Build, Used, "cargo runs it", Any),
    (In(".cargo"), Build, Used, "cargo's wrappers, runners and registries", Any),
    (Start("rust-toolchain"), Build, Used, "which compiler is run", Any),
    (Start(".npmrc"), Build, Used, "npm's registry, shell and options", Any),
    (Start(".yarnrc"), Build, Used, "yarn's program and registry", Any),
    (In(".yarn/releases"), Build, Used, "yarn runs it", Any),
    (In(".yarn/plugins"), Build, Used, "yarn runs it", Any),
    (Start(".pnpmfile."), Build, Used, "pnpm runs it", Any),
    (Name("pnpm-workspace.yaml"), Build, Used, "which packages pnpm lets run scripts", Any),
    (Start(".pnp."), Build, Used, "node loads it", Any),
    (Name("bunfig.toml"), Build, Used, "bun loads what it names", Any),
    (Name("Makefile"), Build, Used, "make runs it", Any),
    (Name("GNUmakefile"), Build, Used, "make runs it", Any),
    (End(".mk"), Build, Used, "make runs it", Any),
    (Name("justfile"), Build, Used, "just runs it", Any),
    (Name(".justfile"), Build, Used, "just runs it", Any),
    (Start("Taskfile."), Build, Used, "task runs it", Any),
    (Name("Rakefile"), Build, Used, "rake runs it", Any),
    (Name("Gemfile"), Build, Used, "bundler runs it", Any),
    (End(".gemspec"), Build, Used, "bundler runs it", Any),
    (Name("Vagrantfile"), Build, Used, "vagrant runs it", Any),
    (Name("CMakeLists.txt"), Build, Used, "cmake runs it", Any),
    (End(".cmake"), Build, Used, "cmake runs it", Any),
    (Name("meson.build"), Build, Used, "meson runs it", Any),
    (Name("SConstruct"), Build, Used, "scons runs it", Any),
    (Name("configure"), Build, Used, "it is run to build", Any),
    (Name("configure.ac"), Build, Used, "it is run to build", Any),
    (Name(".bazelrc"), Build, Used, "bazel obeys it", Any),
    (Start("BUILD.bazel"), Build, Used, "bazel runs it", Any),
    (End(".gradle"), Build, Used, "gradle runs it", Any),
    (End(".gradle.kts"), Build, Used, "gradle runs it", Any),
    (In("gradle/wrapper"), Build, Used, "gradle runs it", Any),
    (Name("gradle.properties"), Build, Used, "gradle obeys it", Any),
    (In(".mvn"), Build, Used, "maven loads it", Any),
    (Name("pom.xml"), Build, Used, "maven runs it", Any),
    (Name("setup.py"), Build, Used, "Python's tools run it", Any),
    (Name("conftest.py"), Build, Used, "pytest runs it", Any),
    (Name("noxfile.py"), Build, Used, "nox runs it", Any),
    (Name("tox.ini"), Build, Used, "tox runs it", Any),
    (Name("pytest.ini"), Build, Used, "pytest obeys it", Any),
    (Name("setup.cfg"), Build, Used, "Python's tools obey it", Any),
    (Name("flake.nix"), Build, Used, "nix evaluates it", Any),
    (Name("shell.nix"), Build, Used, "nix evaluates it", Any),
    (Name("default.nix"), Build, Used, "nix evaluates it", Any),
    (Start("Dockerfile"), Build, Used, "docker builds it", Any),
    (Start("docker-compose."), Build, Used, "docker runs it, with what it mounts", Any),
    (Name("compose.yaml"), Build, Used, "docker runs it, with what it mounts", Any),
    (Name("compose.yml"), Build, Used, "docker runs it, with what it mounts", Any),
    (Name("Gruntfile.js"), Build, Used, "node runs it", Any),
    (Start("gulpfile."), Build, Used, "node runs it", Any),
    (Start(".eslintrc"), Build, Used, "node runs it", Any),
    (Name("magefile.go"), Build, Used, "mage runs it", Any),
];

/// Endings of scripts that JavaScript's tools load: `vite.config.ts` and the like.
const SCRIPTS: [&str; 6] = [".js", ".cjs", ".mjs", ".ts", ".cts", ".mts"];

/// What a path means by its names; `is_link`: it may stand for a directory.
pub(super) fn meaning(path: &[u8], is_link: bool) -> Option<Meaning> {
    let path = String::from_utf8_lossy(path).to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or(&path);
    let fits = |fit: &Fit| match fit {
        Name(wanted) => name == wanted.to_ascii_lowercase(),
        End(wanted) => name.len() > wanted.len() && name.ends_with(wanted),
        Start(wanted) => name.starts_with(&wanted.to_ascii_lowercase()),
        Path(wanted) => path == *wanted || path.ends_with(&format!("/{wanted}")),
        In(wanted) => {
            let anchored = format!("/{path}");
            anchored.contains(&format!("/{wanted}/"))
                || is_link && anchored.ends_with(&format!("/{wanted}"))
        }
    };
    let found = TABLE.iter().find(|(fit, ..)| fits(fit));
    let found = found.map(|(_, kind, danger, why, matter)| Meaning {
        kind: *kind,
        danger: *danger,
        why,
        matter: *matter,
    });
    found.or_else(|| {
        let stem = SCRIPTS.iter().find_map(|ending| name.strip_suffix(ending))?;
        stem.ends_with(".config").then_some(Meaning {
            kind: Build,
            danger: Used,
            why: "node runs it",
            matter: Any,
        })
    })
}

/// The outermost directory on a path that tools make again, and fill with programs.
pub(super) fn generated(path: &[u8]) -> Option<&[u8]> {
    const NAMES: [&[u8]; 9] = [
        b"node_modules",
        b"target",
        b".venv",
        b"venv",
        b".tox",
        b".nox",
        b".gradle",
        b"build",
        b"dist",
    ];
    directories_above(path)
        .find(|prefix| NAMES.contains(&prefix.rsplit(|b| *b == b'/').next().unwrap_or(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that a line of the table fits, made of the line.
    fn example(fit: Fit) -> String {
        match fit {
            Name(name) | Path(name) => format!("sub/{name}"),
            End(end) => format!("sub/x{end}"),
            Start(start) => format!("sub/{start}json"),
            In(directory) => format!("sub/{directory}/deep/x"),
        }
    }

    #[test]
    fn every_line_of_the_table_is_reached() {
        for (fit, kind, danger, why, matter) in TABLE {
            let expected = Meaning { kind: *kind, danger: *danger, why, matter: *matter };
            assert_eq!(meaning(example(*fit).as_bytes(), false), Some(expected), "{fit:?}");
        }
    }

    #[test]
    fn known_files_have_their_kinds() {
        for (path, kind) in [
            (".vscode/tasks.json", Some(Editor)),
            (".vscode/settings.json", Some(Editor)),
            (".idea/runConfigurations/x.xml", Some(Editor)),
            (".nvim.lua", Some(Editor)),
            (".envrc", Some(StartUp)),
            (".devcontainer/devcontainer.json", Some(Editor)),
            ("web/package.json", Some(Build)),
            ("build.rs", Some(Build)),
            ("makefile", Some(Build)),
            ("conftest.py", Some(Build)),
            (".cargo/config.toml", Some(Build)),
            (".npmrc", Some(Build)),
            ("vite.config.ts", Some(Build)),
            (".github/workflows/ci.yml", Some(Ci)),
            (".pre-commit-config.yaml", Some(GitHook)),
            (".claude/settings.json", Some(Agent)),
            ("CLAUDE.md", Some(Agent)),
            (".mcp.json", Some(Agent)),
            (".codex/config.toml", Some(Agent)),
            (".cursor/rules/x.mdc", Some(Agent)),
            ("AGENTS.md", Some(Agent)),
            ("src/main.rs", None),
            ("README.md", None),
            ("notgithub/workflows/x", None),
            ("config.ts", None),
        ] {
            let found = meaning(path.as_bytes(), false).map(|meaning| meaning.kind);
            assert_eq!(found, kind, "{path}");
        }
    }

    #[test]
    fn a_link_may_stand_for_a_directory() {
        assert_eq!(meaning(b".claude", false), None);
        assert_eq!(meaning(b"x/.claude", true).map(|meaning| meaning.kind), Some(Agent));
        assert_eq!(generated(b"web/node_modules/x/node_modules/y"), Some(&b"web/node_modules"[..]));
        assert_eq!(generated(b"src/target.rs"), None);
        assert_eq!(generated(b"target"), None);
    }
}
