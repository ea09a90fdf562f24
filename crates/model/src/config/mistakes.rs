//! What is said about broken configurations: a table, and a snapshot of each message.

use std::path::Path;

use super::{ConfigError, Reading, Source, Surroundings};

/// One configuration of one file, broken in one way.
const CASES: &[(&str, &str)] = &[
    // Keys.
    ("a key of a folder", "[[folder]]\npath = \"~/a\"\nprofils = [\"claude\"]\n"),
    ("a key with a dash", "[[folder]]\npath = \"~/a\"\nexit-check = \"off\"\n"),
    ("a key in capitals", "[[folder]]\nPath = \"~/a\"\n"),
    ("a key of nobody", "[[folder]]\npath = \"~/a\"\nwobble = 1\n"),
    ("a key of a backup", "[[folder]]\npath = \"~/a\"\n[folder.backup]\nenable = false\n"),
    ("a key of the defaults", "[defaults]\nmemmory = \"4GiB\"\n"),
    ("a key of the guard", "[defaults.guard]\nfile = 10\n"),
    ("a key of limits", "[[folder]]\npath = \"/f\"\nlimits = { disks = \"1GiB\" }\n"),
    ("a key of a profile", "[profile.x]\nlabel = [\"a\"]\n"),
    ("a key of a secret", "[secret.a]\nvalue = \"sk-12345\"\n"),
    ("a table", "[profiles.x]\n"),
    ("a table of one folder", "[folder]\npath = \"~/a\"\n"),
    ("a key that turns every backup off", "[defaults.backup]\nenabled = false\n"),
    ("a key that is missing", "[[folder]]\naccess = \"ro\"\n"),
    ("a key twice", "[[folder]]\npath = \"~/a\"\nprofiles = []\nprofiles = [\"claude\"]\n"),
    ("a table twice", "[profile.x]\n[profile.x]\n"),
    ("the defaults twice", "[defaults]\ncpus = 1\n[defaults]\ncpus = 2\n"),
    // The text itself.
    ("a table that does not close", "[defaults\n"),
    ("a text that does not close", "[[folder]]\npath = \"~/a\n"),
    ("a list that does not close", "[[folder]]\npath = \"~/a\"\nprofiles = [\"claude\"\n"),
    ("no sign between key and value", "[defaults]\ncpus 2\n"),
    ("a word without quotes", "[defaults]\nnetwork = offline\n"),
    ("a tab within é", "[[folder]]\npath = \"~/é\"\tprofiles = []\n"),
    ("a zero byte", "[defaults]\ncpus = 2\0\n"),
    ("YAML", "folders:\n  - path: ~/a\n"),
    // Types.
    ("a number for a size", "[defaults]\nmemory = 4096\n"),
    ("a text for a number", "[defaults]\ncpus = \"two\"\n"),
    ("a number that is negative", "[defaults]\ncpus = -1\n"),
    ("a text for a list", "[[folder]]\npath = \"~/a\"\nprofiles = \"claude\"\n"),
    ("a list for a text", "[[folder]]\npath = [\"~/a\"]\n"),
    ("a number in a list", "[[folder]]\npath = \"~/a\"\nhide = [\".env\", 3]\n"),
    ("a text for true or false", "[[folder]]\npath = \"/a\"\n[folder.backup]\nenabled = \"no\"\n"),
    ("a truth for a word", "[[folder]]\npath = \"~/a\"\nexit_check = false\n"),
    ("a text for a table", "[[folder]]\npath = \"~/a\"\nbackup = \"daily\"\n"),
    ("a text for a command", "[secret.a]\ncommand = \"pass show hunter2\"\n"),
    ("a date for a text", "[[folder]]\npath = 1979-05-27\n"),
    // Values.
    ("an access", "[[folder]]\npath = \"~/a\"\naccess = \"write\"\n"),
    ("a network", "[profile.x]\nnetwork = \"offlin\"\n"),
    ("an engine", "[defaults]\nengine = \"docker\"\n"),
    ("no processors", "[defaults]\ncpus = 0\n"),
    ("too little memory", "[defaults]\nmemory = \"1MiB\"\n"),
    ("too small a disk", "[[folder]]\npath = \"/f\"\nlimits = { disk = \"1GiB\" }\n"),
    ("a size in words", "[defaults]\nmemory = \"lots\"\n"),
    ("a size without a unit", "[defaults]\ndisk = \"40\"\n"),
    ("a vault of nothing", "[defaults.backup]\nlimit = \"0B\"\n"),
    (
        "a word of a retention rule",
        "[defaults.backup]\nkeep = 'everything for 2 days, dayly for 2 weeks'\n",
    ),
    (
        "a unit of a retention rule, written with an escape",
        "[defaults.backup]\nkeep = \"everything for 2 \\u0064ays, daily for 2 weks\"\n",
    ),
    ("an interval in words", "[defaults.backup]\ncheck = \"1 day\"\n"),
    ("an interval of nothing", "[defaults.backup]\ncheck = \"0s\"\n"),
    ("a percentage", "[defaults]\nguard = { action = \"freeze\", percent = 120 }\n"),
    ("an action of the guard", "[[folder]]\npath = \"~/a\"\n[folder.guard]\naction = \"frezee\"\n"),
    ("a pattern", "[[folder]]\npath = \"~/a\"\nhide = [\".env\", \"[a\"]\n"),
    ("a pattern of nothing", "[[folder]]\npath = \"~/a\"\nprotect = [\"\"]\n"),
    (
        "a pattern of a backup",
        "[[folder]]\npath = \"/a\"\n[folder.backup]\nexclude = [\"a/[z-\"]\n",
    ),
    ("a reason against sharing", "[[folder]]\npath = \"~\"\nshare_anyway = [\"hom\"]\n"),
    (
        "a password in a target",
        "[defaults.backup]\ncopy = [\"/mnt/a\", \"rest:https://ann:hunter2@nas/\"]\n",
    ),
    ("a target twice", "[[folder]]\npath = \"/a\"\n[folder.backup]\ncopy = [\"/m\", \"/m/\"]\n"),
    ("a host that is an address of a page", "[profile.x]\nallow = [\"https://a.example/x\"]\n"),
    ("hosts without a ceiling", "[[folder]]\npath = \"/f\"\nallow = [\"a.example\"]\n"),
    // Paths.
    ("a path that is relative", "[[folder]]\npath = \"code/shop\"\n"),
    ("a path in somebody's home", "[[folder]]\npath = \"~bob/shop\"\n"),
    ("a path with a variable that is not set", "[[folder]]\npath = \"$CODE/shop\"\n"),
    ("a path with a brace", "[[folder]]\npath = \"${CODE/shop\"\n"),
    ("a path that goes up", "[[folder]]\npath = \"~/code/../clients\"\n"),
    // Names.
    ("a name of a profile", "[profile.\"Not A Name\"]\n"),
    ("a recipe", "[profile.x]\nrecipe = \"claud-code\"\n"),
    ("a profile that may see", "[[folder]]\npath = \"~/a\"\nprofiles = [\"codex\", \"cluade\"]\n"),
    ("a profile that may not see", "[[folder]]\npath = \"~/a\"\ndeny = [\"clod\"]\n"),
    ("a profile in capitals", "[[folder]]\npath = \"~/a\"\nprofiles = [\"Claude\"]\n"),
    ("a label", "[profile.x]\nlabels = [\"self hosted\"]\n"),
    ("a variable", "[profile.x]\nenv = { \"A-B\" = \"hunter2\" }\n"),
    // What does not fit together.
    ("a folder twice", "[[folder]]\npath = \"~/a\"\n[[folder]]\npath = \"/home/ann/./a/\"\n"),
    (
        "a folder by another path",
        "[[folder]]\npath = \"~/a\"\nprofiles = []\n[[folder]]\npath = \"/link/to/a\"\n",
    ),
    ("both lists", "[[folder]]\npath = \"/a\"\nprofiles = [\"codex\"]\ndeny = [\"codex\"]\n"),
    (
        "a folder that opens what is around it",
        "[[folder]]\npath = \"~/clients\"\nprofiles = [\"claude\"]\n\
         [[folder]]\npath = \"~/clients/x\"\nprofiles = [\"claude\", \"codex\"]\n",
    ),
    (
        "a folder that opens what is denied around it",
        "[[folder]]\npath = \"~/clients/x\"\nprofiles = [\"codex\"]\n\
         [[folder]]\npath = \"~/clients\"\ndeny = [\"codex\"]\n",
    ),
    // Secrets.
    ("a secret from nowhere", "[secret.a]\n"),
    ("a secret from two places", "[secret.a]\nfile = \"/a\"\nenvironment = \"A\"\n"),
    ("a secret in a relative file", "[secret.a]\nfile = \"a\"\n"),
    ("a secret in a keyring without account", "[secret.a]\nkeyring = \"ringfence\"\n"),
    ("a secret by no program", "[secret.a]\ncommand = []\n"),
    ("a secret in no variable", "[secret.a]\nenvironment = \"A-B\"\n"),
    ("a secret as no variable", "[secret.a]\nfile = \"/a\"\nas = \"1st\"\n"),
    ("a secret whose name is no variable", "[secret.1st]\nfile = \"/a\"\n"),
    ("a secret's name", "[secret.A_B]\nfile = \"/a\"\n"),
    ("a secret without quotes", "[secret.a]\nfile = sk-12345\n"),
    ("a secret in a line", "secret = { a = { token = \"sk-12345\" } }\n"),
    (
        "a secret of a profile",
        "[secret.npm-token]\nfile = \"/a\"\n[profile.x]\nsecrets = [\"npm-tokn\"]\n",
    ),
    ("a secret that is not there", "[profile.x]\nsecrets = [\"zzz\"]\n"),
    (
        "two secrets in one variable",
        "[secret.a]\nfile = \"/a\"\nas = \"K\"\n[secret.b]\nfile = \"/b\"\nas = \"K\"\n\
         [profile.x]\nsecrets = [\"a\", \"b\"]\n",
    ),
    (
        "a secret in a variable of `env`",
        "[secret.a]\nfile = \"/a\"\n[profile.x]\nsecrets = [\"a\"]\nenv = { A = \"1\" }\n",
    ),
    (
        "a secret twice",
        "[secret.a]\nfile = \"/a\"\n[[folder]]\npath = \"/f\"\nsecrets = [\"a\", \"a\"]\n",
    ),
    // The number.
    ("a newer schema", "schema = 2\n[newer]\n"),
    ("no schema", "schema = 0\n"),
    ("a schema in quotes", "schema = \"1\"\n"),
];

/// What is no mistake and yet probably not meant.
const WARNINGS: &[(&str, &str)] = &[
    (
        "a label that nobody carries",
        "[profile.x]\nlabels = [\"self-hosted\"]\n[[folder]]\npath = \"/f\"\nprofiles = [\"label:selfhosted\"]\n",
    ),
    (
        "a denied label that nobody carries",
        "[[folder]]\npath = \"/f\"\ndeny = [\"label:hosted\"]\n",
    ),
    (
        "a label of which some are kept out",
        "[profile.x]\nlabels = [\"l\"]\n[profile.y]\nlabels = [\"l\"]\n\
         [[folder]]\npath = \"/f\"\nprofiles = [\"x\"]\n[[folder]]\npath = \"/f/g\"\nprofiles = [\"label:l\"]\n",
    ),
];

/// Several files, broken together.
const TOGETHER: &[(&str, [&str; 2])] = &[
    (
        "a default in two files",
        ["[defaults]\ncpus = 2\n", "[defaults]\nmemory = \"1GiB\"\ncpus = 2\n"],
    ),
    (
        "a default of backups in two files",
        ["[defaults.backup]\nlimit = \"1GiB\"\n", "[defaults.backup]\nlimit = \"2GiB\"\n"],
    ),
    (
        "a folder in two files",
        ["[[folder]]\npath = \"~/a\"\n", "\n[[folder]]\npath = \"/home/ann/a\"\n"],
    ),
    ("a profile in two files", ["[profile.x]\n", "[profile.x]\nlabels = [\"a\"]\n"]),
    ("a secret in two files", ["[secret.x]\nfile = \"/a\"\n", "[secret.x]\nfile = \"/a\"\n"]),
    (
        "a folder that opens what another file closes",
        [
            "[[folder]]\npath = \"/a\"\nprofiles = []\n",
            "[[folder]]\npath = \"/a/b\"\nprofiles = [\"codex\"]\n",
        ],
    ),
    ("a mistake in the second file", ["[defaults]\ncpus = 2\n", "[defaults]\nmemory = \"lots\"\n"]),
];

fn read(texts: &[&str]) -> Result<Reading, ConfigError> {
    let canonical = |path: &Path| (path == Path::new("/link/to/a")).then(|| "/home/ann/a".into());
    let around = Surroundings { canonical: &canonical, ..Surroundings::of(Path::new("/home/ann")) };
    let files = ["config.toml", "conf.d/work.toml"];
    let source = |(file, text): (&str, &&str)| Source { file: file.into(), text: text.to_string() };
    Reading::of(files.into_iter().zip(texts).map(source).collect(), &around)
}

#[test]
fn each_mistake_names_its_place_and_what_was_probably_meant() {
    assert!(CASES.len() >= 60);
    let told = |(what, texts): (&str, &[&str])| {
        let error = read(texts).expect_err(what);
        format!("— {what}\n{error}")
    };
    let mut all: Vec<String> = CASES.iter().map(|(what, text)| told((what, &[text]))).collect();
    all.extend(TOGETHER.iter().map(|(what, texts)| told((what, &texts[..]))));
    let all = all.join("\n\n");
    for secret in ["sk-12345", "hunter2"] {
        assert!(!all.contains(secret), "a value that could be secret is repeated");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn what_is_probably_not_meant_is_said_and_holds() {
    let mut all = Vec::new();
    for (what, text) in WARNINGS {
        let reading = read(&[text]).expect(what);
        let words: Vec<String> = reading.warnings.iter().map(ToString::to_string).collect();
        assert!(!words.is_empty(), "{what}");
        all.push(format!("— {what}\n{}", words.join("\n")));
    }
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn files_are_one_configuration_and_each_key_has_its_place() {
    let reading = read(&[
        "[defaults]\ncpus = 2\n[[folder]]\npath = \"~/a\"\nprofiles = [\"work\"]\nsecrets = [\"k\"]\n",
        "[defaults]\nmemory = \"2GiB\"\n[[folder]]\npath = \"~/b\"\naccess = \"ro\"\n\
         [profile.work]\nsecrets = [\"k\"]\n[secret.k]\nenvironment = \"K\"\n",
    ])
    .expect("reads");
    assert_eq!(reading.config.defaults.cpus, Some(2));
    assert!(reading.config.defaults.memory.is_some());
    assert_eq!(reading.config.folders.len(), 2);
    let place = |key: &[&str]| reading.place(key).map(ToString::to_string);
    assert_eq!(place(&["folder", "0", "profiles"]).as_deref(), Some("config.toml:5"));
    assert_eq!(place(&["folder", "1", "access"]).as_deref(), Some("conf.d/work.toml:5"));
    assert_eq!(place(&["defaults", "memory"]).as_deref(), Some("conf.d/work.toml:2"));
    assert_eq!(place(&["folder", "0", "access"]), None);
    assert!(reading.warnings.is_empty());
}
