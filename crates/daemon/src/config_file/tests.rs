//! The configuration's files as people treat them.

use std::os::unix::fs::PermissionsExt;

use ringfence_model::folder::{Access, Exception};
use ringfence_model::machine::LimitWords;
use ringfence_model::name::ProfileName;
use ringfence_model::profile::{Network, Selector};
use ringfence_model::size::Size;

use super::*;

struct Lab {
    directory: tempfile::TempDir,
    config: ConfigFile,
}

impl Lab {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        fs::write(directory.path().join("config.toml"), text).expect("writes");
        let config = Self::daemon(directory.path());
        Self { directory, config }
    }

    /// What a daemon that starts has.
    fn daemon(directory: &Path) -> ConfigFile {
        let (main, kept) = (directory.join("config.toml"), directory.join("state/good.json"));
        ConfigFile::open(main, kept, "/home/ann".into())
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.directory.path().join(name);
        fs::create_dir_all(file.parent().expect("parent")).expect("directory");
        fs::write(file, text).expect("writes");
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).expect("reads")
    }
}

fn name(text: &str) -> ProfileName {
    text.parse().expect("name")
}

fn who(text: &str) -> Vec<Selector> {
    vec![text.to_owned().try_into().expect("name")]
}

#[test]
fn a_file_that_is_emptied_takes_no_rule_away() {
    let lab = Lab::new(RULE);
    assert_eq!(lab.config.current().expect("good").folders.len(), 1);
    // As an editor leaves it for a moment, and a full disk for longer.
    lab.write("config.toml", "");
    let error = lab.config.current().expect_err("emptied").to_string();
    assert!(error.contains("is empty, and was not before"), "{error}");
    assert_eq!(lab.config.last_good().folders.len(), 1);
    assert_eq!(Lab::daemon(lab.directory.path()).last_good().folders.len(), 1);
    lab.write("config.toml", "# nothing any more\n");
    assert_eq!(lab.config.current().expect("good").folders.len(), 0);
    lab.write("config.toml", "");
    assert!(lab.config.current().is_err());
}

/// The rest of a file comes later, and what is there so far is good by itself.
#[test]
fn a_file_that_is_being_written_is_read_when_it_is_whole() {
    let lab = Lab::new("# none yet\n");
    let shown = |config: &Config| -> Vec<PathBuf> {
        config.folders.iter().map(|rules| rules.path.clone()).collect()
    };
    let both: Vec<PathBuf> = vec!["/srv/a".into(), "/srv/b".into()];
    let whole = format!("{RULE}{}", RULE.replace("/srv/a", "/srv/b"));
    for away in [false, true] {
        lab.write("config.toml", &whole);
        assert_eq!(shown(&lab.config.current().expect("good")), both);
        if away {
            // Some editors move the old one aside.
            fs::remove_file(lab.directory.path().join("config.toml")).expect("removes");
        } else {
            lab.write("config.toml", RULE);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(QUIET / 2);
                lab.write("config.toml", &whole);
            });
            assert_eq!(shown(&lab.config.current().expect("good")), both, "moved aside: {away}");
        });
    }
}

const RULE: &str = "[[folder]]\npath = \"/srv/a\"\nprofiles = []\n";

#[test]
fn edits_keep_comments_and_the_previous_file() {
    let lab = Lab::new(
        "# mine\n[[folder]]\npath = \"~/shop\" # the shop\n# soon rw\naccess = \"rw\" # for now\n",
    );
    let shop = Path::new("/home/ann/shop");
    let edits = [
        FolderEdit::Network(Network::Allowlist),
        FolderEdit::Allow(vec!["a.example".into()]),
        FolderEdit::Deny(who("codex")),
        FolderEdit::ShareAnyway(vec![Exception::Private]),
        FolderEdit::Limits(LimitWords { cpus: Some(2), memory: Some(Size::gib(2)), disk: None }),
    ];
    lab.config.edit_folder(shop, &[FolderEdit::Access(Access::Ro)]).expect("edits");
    lab.config.edit_folder(shop, &edits).expect("edits");
    lab.config.edit_folder(Path::new("/srv/b"), &[FolderEdit::Backup(false)]).expect("edits");
    insta::assert_snapshot!("an_edited_file", lab.text("config.toml"));
    let good = lab.config.current().expect("good");
    assert!(!good.folders[1].backup);
    assert_eq!(good.folders[0].limits.cpus, Some(2));
    let unset = ["limits", "share_anyway", "allow", "network", "deny"].map(String::from);
    let unset: Vec<_> = unset.into_iter().map(FolderEdit::Unset).collect();
    lab.config.edit_folder(shop, &unset).expect("edits");
    assert!(!lab.text("config.toml").contains("limits"));
    assert!(lab.text("config.toml.previous").contains("limits"));
}

#[test]
fn a_rule_of_another_file_is_edited_where_it_stands() {
    let lab = Lab::new("# main\n");
    lab.write(
        "conf.d/work.toml",
        "# work\n[[folder]]\npath = \"~/nda\" # secret\n[profile.mine]\n",
    );
    let deny = FolderEdit::Deny(who("codex"));
    lab.config.edit_folder(Path::new("/home/ann/nda"), &[deny]).expect("edits");
    let labels = [ProfileEdit::Labels(vec!["self-hosted".into()])];
    lab.config.edit_profile(&name("mine"), false, &labels).expect("edits");
    assert_eq!(
        lab.text("conf.d/work.toml"),
        "# work\nschema = 1\n\n[[folder]]\npath = \"~/nda\" # secret\ndeny = [\"codex\"]\n\
         [profile.mine]\nlabels = [\"self-hosted\"]\n"
    );
    assert_eq!(lab.text("config.toml"), "# main\n");
    assert_eq!(lab.config.current().expect("good").folders[0].deny.len(), 1);
}

#[test]
fn profiles_are_made_changed_and_taken_away() {
    let lab = Lab::new("# mine\n");
    let edits = [
        ProfileEdit::Recipe("codex".into()),
        ProfileEdit::Args(vec!["--yolo".into()]),
        ProfileEdit::Env("A".into(), "1".into()),
        ProfileEdit::Network(Network::Offline),
        ProfileEdit::Limits(LimitWords { disk: Some(Size::gib(20)), ..LimitWords::default() }),
    ];
    lab.config.edit_profile(&name("mine"), true, &edits).expect("adds");
    insta::assert_snapshot!("a_new_profile", lab.text("config.toml"));
    let twice = lab.config.edit_profile(&name("mine"), true, &[]).expect_err("twice");
    assert!(twice.message.contains("already"), "{twice}");
    let edits = [ProfileEdit::Unset("args".into()), ProfileEdit::Env("A".into(), "2".into())];
    lab.config.edit_profile(&name("mine"), false, &edits).expect("sets");
    let config = lab.config.current().expect("good");
    assert!(config.profiles[0].args.is_empty());
    assert_eq!(config.profiles[0].env["A"], "2");
    assert!(lab.config.edit_profile(&name("other"), false, &[]).is_err());
    let folder = Path::new("/srv/a");
    lab.config.edit_folder(folder, &[FolderEdit::Profiles(who("mine"))]).expect("edits");
    let named = lab.config.remove_profile(&name("mine")).expect_err("a folder names it");
    assert!(named.message.contains("there is no profile `mine`"), "{named}");
    lab.config.edit_folder(folder, &[FolderEdit::Unset("profiles".into())]).expect("edits");
    lab.config.remove_profile(&name("mine")).expect("removes");
    assert!(lab.config.current().expect("good").profiles.is_empty());
}

#[test]
fn an_edit_that_would_break_the_configuration_writes_nothing() {
    let lab = Lab::new(RULE);
    let edit = [FolderEdit::Profiles(who("claude"))];
    let error = lab.config.edit_folder(Path::new("/srv/a/b"), &edit).expect_err("widens");
    assert!(error.message.contains("may not see /srv/a"), "{error}");
    assert_eq!(lab.text("config.toml"), RULE);
    assert!(!lab.directory.path().join("config.toml.previous").exists());
}

#[test]
fn a_broken_file_leaves_the_last_good_one_in_force() {
    let lab = Lab::new(RULE);
    assert_eq!(lab.config.current().expect("good").folders.len(), 1);
    lab.write("config.toml", "[[folder]]\npth = 1\n");
    let error = lab.config.current().expect_err("broken");
    assert_eq!(error.kind, ErrorKind::Config);
    assert_eq!(lab.config.last_good().folders.len(), 1);
    assert!(lab.config.edit_folder(Path::new("/srv/b"), &[FolderEdit::Backup(false)]).is_err());
    assert_eq!(lab.text("config.toml"), "[[folder]]\npth = 1\n");
}

#[test]
fn the_last_good_one_is_in_force_after_a_restart_as_well() {
    let lab = Lab::new(RULE);
    lab.write("conf.d/more.toml", "[[folder]]\npath = \"/srv/b\"\nprofiles = []\n");
    assert_eq!(lab.config.current().expect("good").folders.len(), 2);
    lab.write("conf.d/more.toml", "[[folder]]\npath = \"/srv/b\"\nprofils = []\n");
    let next = Lab::daemon(lab.directory.path());
    assert!(next.current().is_err());
    assert_eq!(next.last_good().folders.len(), 2);
    assert_eq!(next.last_good().folders[1].profiles.as_deref(), Some(&[][..]));
    lab.write("conf.d/more.toml", "# none\n");
    assert_eq!(next.current().expect("mended").folders.len(), 1);
}

#[test]
fn every_change_of_a_file_is_seen() {
    let lab = Lab::new(RULE);
    let folders = || lab.config.current().map(|config| config.folders.len());
    assert_eq!(folders(), Ok(1));
    lab.write("conf.d/b.toml", "[[folder]]\npath = \"/srv/b\"\n");
    assert_eq!(folders(), Ok(2));
    // The same length at the same time, in another file.
    let file = lab.directory.path().join("conf.d/b.toml");
    let time = fs::metadata(&file).and_then(|facts| facts.modified()).expect("time");
    let other = lab.directory.path().join("other");
    fs::write(&other, "[[folder]]\npath = \"/srv/a\"\n").expect("writes");
    let handle = fs::File::options().write(true).open(&other).expect("opens");
    handle.set_modified(time).expect("sets");
    fs::rename(&other, &file).expect("renames");
    assert!(folders().is_err_and(|error| error.message.contains("listed twice")));
    fs::remove_file(&file).expect("removes");
    assert_eq!(folders(), Ok(1));
}

#[test]
fn a_text_takes_a_file_s_place_only_when_it_is_good_and_nobody_came_first() {
    let lab = Lab::new(RULE);
    let main = lab.directory.path().join("config.toml");
    let replace = |file: &Path, before, text: &str| lab.config.replace(file, before, text.into());
    let broken = replace(&main, Some(RULE), "profils = 1\n").expect_err("broken");
    assert!(broken.message.contains("unknown key"), "{broken}");
    let late = replace(&main, Some(""), "").expect_err("changed meanwhile");
    assert!(late.message.contains("meanwhile"), "{late}");
    assert_eq!(lab.text("config.toml"), RULE);
    let include = lab.directory.path().join("conf.d/a.toml");
    replace(&include, None, "[profile.x]\n").expect("writes");
    assert_eq!(lab.config.current().expect("good").profiles.len(), 1);
    assert!(replace(&include, None, "").is_err());
    assert!(replace(&lab.directory.path().join("elsewhere.toml"), None, "").is_err());
    // A broken file is mended by it.
    lab.write("config.toml", "profils = 1\n");
    replace(&main, Some("profils = 1\n"), RULE).expect("mends");
    assert_eq!(lab.text("config.toml.previous"), "profils = 1\n");
}

#[test]
fn a_file_that_is_a_link_stays_one_and_keeps_its_mode() {
    let lab = Lab::new(RULE);
    let main = lab.directory.path().join("config.toml");
    let elsewhere = lab.directory.path().join("dotfile");
    fs::rename(&main, &elsewhere).expect("renames");
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o644)).expect("mode");
    std::os::unix::fs::symlink(&elsewhere, &main).expect("links");
    let edit = [FolderEdit::Access(Access::Ro)];
    lab.config.edit_folder(Path::new("/srv/a"), &edit).expect("edits");
    assert!(fs::symlink_metadata(&main).expect("there").is_symlink());
    assert!(fs::read_to_string(&elsewhere).expect("reads").contains("access = \"ro\""));
    let mode = fs::metadata(&elsewhere).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn files_without_a_number_are_numbered() {
    let lab = Lab::new("# mine\n[[folder]]\npath = \"/srv/a\"\n");
    assert_eq!(lab.config.migrate().expect("migrates").len(), 1);
    let numbered = "# mine\nschema = 1\n\n[[folder]]\npath = \"/srv/a\"\n";
    assert_eq!(lab.text("config.toml"), numbered);
    assert!(lab.config.migrate().expect("migrates").is_empty());
}
