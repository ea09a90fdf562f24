//! Configurations as people write them, and what is said about mistakes in them.

use std::path::Path;

use super::*;
use crate::exit_check::ExitAction;
use crate::folder::Exception;
use crate::mass_loss::GuardAction;
use crate::name::SecretName;
use crate::pattern::Pattern;
use crate::secret::SecretSource;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("config.toml"), text, Path::new("/home/ann"))
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let config = parse(
        "[defaults]\nengine = \"auto\"\ncpus = 2\nmemory = \"4GiB\"\nnetwork = \"internet\"\n\
         [[folder]]\npath = \"~/code/shop\"\nprofiles = [\"claude\", \"codex\"]\naccess = \"rw\"\n[folder.backup]\n\
         [[folder]]\npath = \"~/clients/nda\"\nprofiles = [\"label:self-hosted\"]\n\
         [profile.claude]\nrecipe = \"claude-code\"\n\
         [profile.local-qwen]\nrecipe = \"qwen-code\"\nlabels = [\"self-hosted\"]\n",
    )
    .expect("parses");
    assert_eq!(config.folders[0].path, Path::new("/home/ann/code/shop"));
    assert!(config.folders[0].backup);
    assert_eq!(config.profiles.len(), 2);
    let nda = config.folders[1].profiles.as_ref().expect("profiles");
    let qwen = config.profiles.iter().find(|p| p.name.as_str() == "local-qwen").expect("qwen");
    assert!(nda[0].selects(qwen));
}

#[test]
fn folders_keep_and_fill_what_they_say_else_what_the_defaults_say() {
    let config = parse(
        "[defaults.backup]\nkeep = \"everything for 1 week, monthly\"\nlimit = \"50GiB\"\n\
         [[folder]]\npath = \"/a\"\n[folder.backup]\nkeep = \"everything\"\nlimit = \"1GiB\"\n\
         [[folder]]\npath = \"/b\"\n",
    )
    .expect("parses");
    let words = |folder: usize| config.keep_of(&config.folders[folder]).to_string();
    assert_eq!(
        (words(0).as_str(), config.limit_of(&config.folders[0])),
        ("everything", Some(Size::gib(1)))
    );
    assert_eq!(words(1), "everything for 1 week, monthly");
    assert_eq!(config.limit_of(&config.folders[1]), Some(Size::gib(50)));
    assert_eq!(Config::empty().defaults.keep, Keep::default());
    let checked = parse("[defaults.backup]\ncheck = \"12h\"\n").expect("parses");
    assert_eq!(checked.defaults.check.to_string(), "12h");
    assert_eq!(config.defaults.check, CheckEvery::default());
}

#[test]
fn folders_are_copied_where_they_say_else_where_the_defaults_say() {
    let config = parse(
        "[defaults.backup]\ncopy = [\"~/copies\", \"sftp:nas:/b\"]\ncopy_rate = \"4MiB\"\n\
         [[folder]]\npath = \"/a\"\n[folder.backup]\ncopy = [\"s3:host/bucket\"]\n\
         [[folder]]\npath = \"/b\"\n[[folder]]\npath = \"/c\"\n[folder.backup]\ncopy = []\n",
    )
    .expect("parses");
    let shown = |folder: usize| -> Vec<String> {
        let targets = config.copies_of(&config.folders[folder]);
        targets.iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown(0), ["s3:https://host/bucket"]);
    assert_eq!(shown(1), ["/home/ann/copies", "sftp:nas:/b"]);
    assert_eq!(shown(2), Vec::<String>::new());
    assert_eq!(config.defaults.copy_rate, Some(Size::mib(4)));
}

#[test]
fn the_guard_of_a_folder_is_that_of_the_defaults_where_it_says_nothing() {
    let config = parse(
        "[defaults.guard]\naction = \"warn\"\nfiles = 50\n\
         [[folder]]\npath = \"/a\"\nguard = { action = \"freeze\" }\n[[folder]]\npath = \"/b\"\n",
    )
    .expect("parses");
    let of = |folder: usize| config.guard_of(&config.folders[folder]);
    assert_eq!((of(0).action, of(0).files), (GuardAction::Freeze, 50));
    assert_eq!((of(1).action, of(1).files), (GuardAction::Warn, 50));
    assert_eq!(Config::empty().defaults.guard, GuardRule::default());
}

#[test]
fn hidden_and_protected_names_are_patterns() {
    let text = "[[folder]]\npath = \"/a\"\nhide = [\".env\", \"secrets/**\"]\nprotect = [\".git/hooks/**\"]\n";
    let config = parse(text).expect("parses");
    let names = &config.folders[0].names;
    let words = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(words(&names.hide), [".env", "secrets/**"]);
    assert_eq!(words(&names.protect), [".git/hooks/**"]);
}

#[test]
fn mistakes_name_their_place_and_the_nearest_key() {
    let cases = [
        "[[folder]]\npath = \"~/a\"\nprofils = [\"claude\"]\n",
        "[[folder]]\npath = \"a\"\n",
        "[[folder]]\npath = \"~/a\"\n[[folder]]\npath = \"~/a\"\n",
        "[[folder]]\npath = \"~/a\"\n[folder.backup]\nenable = false\n",
        "[[folder]]\npath = \"~/a\"\n[folder.backup]\nkeep = \"everything for 2 days, dayly for 2 weeks\"\n",
        "[defaults.backup]\nkeep = 'everything for 2 days, daily for 2 weks'\n",
        "[defaults.backup]\nkeep = \"everything for 2 \\u0064ays, dayly\"\n",
        "[defaults.backup]\nlimit = \"50 potatoes\"\n",
        "[defaults.backup]\nenabled = false\n",
        "[defaults.backup]\ncheck = \"1 day\"\n",
        "[defaults.backup]\ncheck = \"0s\"\n",
        "[defaults.backup]\ncopy = [\"/mnt/a\", \"rest:https://ann:hunter2@nas/\"]\n",
        "[[folder]]\npath = \"~/a\"\n[folder.backup]\ncopy = [\"/mnt/a\", \"/mnt/a/\"]\n",
        "[[folder]]\npath = \"~/a\"\n[folder.backup]\ncopies = [\"/mnt/a\"]\n",
        "[[folder]]\npath = \"~/a\"\n[folder.backup]\nexclude = [\"target/\", \"a/[z-\"]\n",
        "[[folder]]\npath = \"~/a\"\n[folder.backup]\nexcludes = [\"target/\"]\n",
        "[[folder]]\npath = \"~/a\"\naccess = \"write\"\n",
        "[defaults.guard]\nfile = 10\n",
        "[[folder]]\npath = \"~/a\"\nhide = [\".env\", \"[a\"]\n",
        "[[folder]]\npath = \"~/a\"\nprotect = [\"\"]\n",
        "[[folder]]\npath = \"~/a\"\nhides = [\".env\"]\n",
        "[defaults]\nguard = { action = \"freeze\", percent = 120 }\n",
        "[[folder]]\npath = \"~/a\"\n[folder.guard]\naction = \"frezee\"\n",
        "[defaults]\nmemory = 4096\n",
        "[defaults]\nmemory = \"lots\"\n",
        "[defaults]\ncpus = 0\n",
        "[defaults\n",
        "[profile.\"Not A Name\"]\n",
        "[profile.x]\nnetwork = \"lan\"\n",
        "[profiles.x]\n",
    ];
    let rendered: Vec<String> =
        cases.iter().map(|text| parse(text).expect_err(text).to_string()).collect();
    insta::assert_snapshot!(rendered.join("\n\n"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\[|\\]|\"|=|folder|path|profile|\n|[a-zé~/.]){0,40}") {
        let _ = parse(&text);
    }
}

#[test]
fn the_exit_check_knows_three_words() {
    let of = |word: &str| {
        let text = format!("[[folder]]\npath = \"/a\"\nexit_check = {word}\n");
        Config::parse(Path::new("c.toml"), &text, Path::new("/home/ann"))
            .map(|config| config.folders[0].exit_check)
    };
    assert_eq!(of("\"hold\""), Ok(Some(ExitAction::Hold)));
    assert_eq!(of("\"warn\""), Ok(Some(ExitAction::Warn)));
    assert_eq!(of("\"off\""), Ok(Some(ExitAction::Off)));
    for wrong in ["\"Off\"", "\"on\"", "false", "\"\""] {
        let error = of(wrong).expect_err(wrong);
        assert_eq!(error.line, 3, "{error}");
    }
    let text = "[[folder]]\npath = \"/a\"\nexit-check = \"off\"\n";
    let error = Config::parse(Path::new("c.toml"), text, Path::new("/home/ann"));
    assert!(error.expect_err("a typo").message.contains("did you mean `exit_check`"));
}

#[test]
fn a_folder_says_who_may_not_see_it_and_what_narrows_while_it_is_attached() {
    let config = parse(
        "[secret.npm-token]\nfile = \"~/.npm-token\"\n[secret.other]\nenvironment = \"OTHER\"\n\
         [[folder]]\npath = \"~/nda\"\nprofiles = [\"claude\"]\ndeny = [\"codex\", \"label:hosted\"]\n\
         network = \"allowlist\"\nallow = [\"registry.example\"]\nsecrets = [\"npm-token\"]\n\
         limits = { cpus = 2, memory = \"2GiB\" }\nshare_anyway = [\"private\"]\n\
         [[folder]]\npath = \"/b\"\n",
    )
    .expect("parses");
    let (nda, unspoken) = (&config.folders[0], &config.folders[1]);
    let deny: Vec<String> = nda.deny.iter().map(ToString::to_string).collect();
    assert_eq!(deny, ["codex", "label:hosted"]);
    assert_eq!(nda.network, Some(Network::Allowlist));
    assert_eq!(nda.allow.as_deref(), Some(&["registry.example".to_owned()][..]));
    assert_eq!((nda.limits.cpus, nda.limits.memory), (Some(2), Some(Size::gib(2))));
    let secrets: Vec<_> = nda.secrets.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(secrets, ["npm-token"]);
    assert_eq!(nda.share_anyway, [Exception::Private]);
    assert_eq!(*unspoken, FolderRules::unspoken(Path::new("/b")));
}

#[test]
fn secrets_say_where_they_are_read_and_profiles_name_them() {
    let config = parse(
        "[secret.a-key]\nkeyring = \"ringfence/anthropic\"\n[secret.b]\nfile = \"~/b\"\nas = \"B_KEY\"\n\
         [secret.c]\ncommand = [\"pass\", \"show\", \"c\"]\n[secret.d]\nenvironment = \"D_TOKEN\"\n\
         [profile.x]\nsecrets = [\"a-key\", \"c\"]\nlimits = { disk = \"20GiB\" }\n",
    )
    .expect("parses");
    let of =
        |index: usize| (&config.secrets[index].source, config.secrets[index].variable.as_str());
    let keyring =
        SecretSource::Keyring { service: "ringfence".into(), account: "anthropic".into() };
    assert_eq!(of(0), (&keyring, "A_KEY"));
    assert_eq!(of(1), (&SecretSource::File("/home/ann/b".into()), "B_KEY"));
    let command = ["pass", "show", "c"].map(String::from).to_vec();
    assert_eq!(of(2), (&SecretSource::Command(command), "C"));
    assert_eq!(of(3), (&SecretSource::Environment("D_TOKEN".into()), "D"));
    let names: Vec<&str> = config.profiles[0].secrets.iter().map(SecretName::as_str).collect();
    assert_eq!(names, ["a-key", "c"]);
    assert_eq!(config.profiles[0].limits.disk, Some(Size::gib(20)));
}

#[test]
fn mistakes_in_secrets_and_ceilings_are_told() {
    let cases = [
        "[secret.a]\n",
        "[secret.a]\nfile = \"/a\"\nenvironment = \"A\"\n",
        "[secret.a]\nfile = \"a\"\n",
        "[secret.a]\nkeyring = \"ringfence\"\n",
        "[secret.a]\ncommand = []\n",
        "[secret.a]\ncommand = \"pass show a\"\n",
        "[secret.a]\nenvironment = \"A-B\"\n",
        "[secret.a]\nfile = \"/a\"\nas = \"1st\"\n",
        "[secret.1st]\nfile = \"/a\"\n",
        "[secret.A_B]\nfile = \"/a\"\n",
        "[secret.a]\nvalue = \"sk-12345\"\n",
        "[secret.npm-token]\nfile = \"/a\"\n[profile.x]\nsecrets = [\"npm-tokn\"]\n",
        "[profile.x]\nsecrets = [\"zzz\"]\n",
        "[secret.a]\nfile = \"/a\"\nas = \"K\"\n[secret.b]\nfile = \"/b\"\nas = \"K\"\n[profile.x]\nsecrets = [\"a\", \"b\"]\n",
        "[secret.a]\nfile = \"/a\"\n[[folder]]\npath = \"/f\"\nsecrets = [\"a\", \"a\"]\n",
        "[[folder]]\npath = \"/f\"\nallow = [\"a.example\"]\n",
        "[[folder]]\npath = \"/f\"\nnetwork = \"internet\"\nallow = [\"a.example\"]\n",
        "[[folder]]\npath = \"/f\"\nnetwork = \"allowlist\"\nallow = [\"https://a.example/x\"]\n",
        "[[folder]]\npath = \"/f\"\nnetwork = \"lan\"\n",
        "[[folder]]\npath = \"/f\"\ndeny = [\"Claude\"]\n",
        "[[folder]]\npath = \"/f\"\ndenies = [\"claude\"]\n",
        "[[folder]]\npath = \"/f\"\nlimits = { cpus = 0 }\n",
        "[[folder]]\npath = \"/f\"\nlimits = { memory = \"1MiB\" }\n",
        "[[folder]]\npath = \"/f\"\nlimits = { disks = \"1GiB\" }\n",
        "[[folder]]\npath = \"/f\"\nshare_anyway = [\"hom\"]\n",
        "[[folder]]\npath = \"/f\"\nshare_anyway = true\n",
    ];
    let rendered: Vec<String> =
        cases.iter().map(|text| parse(text).expect_err(text).to_string()).collect();
    insta::assert_snapshot!(rendered.join("\n\n"));
}
