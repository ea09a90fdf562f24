//! Tests of git's part of the exit check.

use super::*;

const PLACE: (&[u8], &[u8]) = (b"/home/ann/shop", b".git");

fn keys(before: Option<&str>, after: &str) -> Vec<String> {
    let before = before.map(str::as_bytes);
    let found = dangerous(before, after.as_bytes(), PLACE).expect("readable");
    found.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn every_key_of_the_table_is_found_and_only_where_it_is_dangerous() {
    // A line for each line of the table, in its order: dangerous, and harmless where it can be.
    let lines: &[(&str, &str)] = &[
        ("[alias]\nx = !rm", "[alias]\nx = status -s"),
        ("[browser \"b\"]\ncmd = x", ""),
        ("[browser \"b\"]\npath = x", ""),
        ("[core]\nalternateRefsCommand = x", ""),
        ("[core]\naskPass = x", ""),
        ("[core]\nattributesFile = x", ""),
        ("[core]\neditor = x", ""),
        ("[core]\nfsmonitor = ./x", "[core]\nfsmonitor = true"),
        ("[core]\ngitProxy = x", ""),
        ("[core]\nhooksPath = .evil", ""),
        ("[core]\npager = x", ""),
        ("[core]\nsshCommand = x", ""),
        ("[core]\nworktree = ../../..", "[core]\nworktree = ../sub"),
        ("[credential]\nhelper = x", "[credential]\nusername = ann"),
        ("[diff \"d\"]\ncommand = x", ""),
        ("[diff]\nexternal = x", "[diff]\ncolorMoved = zebra"),
        ("[diff \"d\"]\ntextconv = x", "[diff \"d\"]\nxfuncname = x"),
        ("[difftool \"d\"]\ncmd = x", "[difftool]\nprompt = false"),
        ("[difftool \"d\"]\npath = x", ""),
        ("[filter \"f\"]\nclean = x", "[filter \"f\"]\nrequired = true"),
        ("[filter \"f\"]\nprocess = x", ""),
        ("[filter \"f\"]\nsmudge = x", ""),
        ("[gc]\nrecentObjectsHook = x", "[gc]\nauto = 0"),
        ("[gpg \"ssh\"]\ndefaultKeyCommand = x", ""),
        ("[gpg]\nprogram = x", "[gpg]\nformat = ssh"),
        ("[guitool \"t\"]\ncmd = x", ""),
        ("[help]\nbrowser = x", "[help]\nautoCorrect = 1"),
        ("[hook \"h\"]\ncommand = x", ""),
        ("[http]\nproxy = x", "[http]\npostBuffer = 1"),
        ("[http]\nsslCAInfo = x", ""),
        ("[http]\nsslCAPath = x", ""),
        ("[http]\nsslVerify = false", "[http]\nsslVerify = true"),
        ("[imap]\ntunnel = x", ""),
        ("[include]\npath = x", ""),
        ("[includeIf \"gitdir:x\"]\npath = x", ""),
        ("[init]\ntemplateDir = x", "[init]\ndefaultBranch = main"),
        ("[instaweb]\nbrowser = x", ""),
        ("[instaweb]\nhttpd = x", ""),
        ("[interactive]\ndiffFilter = x", ""),
        ("[lfs \"extension.x\"]\nclean = x", ""),
        ("[lfs \"customtransfer.x\"]\npath = x", "[lfs]\nrepositoryformatversion = 0"),
        ("[lfs \"extension.x\"]\nsmudge = x", ""),
        ("[lfs]\nstandaloneTransferAgent = x", ""),
        ("", "[lfs]\nurl = https://e.org"),
        ("[man \"m\"]\ncmd = x", ""),
        ("[man \"m\"]\npath = x", ""),
        ("[merge \"m\"]\ndriver = x", "[merge]\ntool = vimdiff"),
        ("[mergetool \"m\"]\ncmd = x", ""),
        ("[mergetool \"m\"]\npath = x", ""),
        ("[pager]\nlog = x", "[pager]\nlog = false"),
        ("[protocol \"ext\"]\nallow = always", ""),
        ("[remote \"o\"]\nproxy = x", "[remote \"o\"]\nfetch = +refs/*:refs/*"),
        ("[remote]\npushDefault = x", ""),
        ("[remote \"o\"]\npushurl = ext::sh", ""),
        ("", "[remote \"o\"]\npushurl = https://e.org"),
        ("[remote \"o\"]\nreceivepack = x", ""),
        ("[remote \"o\"]\nuploadpack = x", ""),
        ("[remote \"o\"]\nurl = ext::sh", "[remote \"o\"]\nurl = git@e.org:a/b"),
        ("", ""),
        ("[remote \"o\"]\nvcs = x", ""),
        ("", "[branch \"main\"]\npushRemote = o"),
        ("[sendemail]\nccCmd = x", ""),
        ("[sendemail]\nheaderCmd = x", ""),
        ("[sendemail]\nsendmailCmd = x", ""),
        ("[sendemail]\nsmtpServer = x", ""),
        ("[sendemail]\ntoCmd = x", ""),
        ("[sequence]\neditor = x", ""),
        ("[submodule \"s\"]\nupdate = !x", "[submodule \"s\"]\nupdate = rebase"),
        ("[submodule \"s\"]\nurl = ext::x", "[submodule \"s\"]\nurl = https://e.org"),
        ("[svn]\nauthorsProg = x", ""),
        ("[tar \"x\"]\ncommand = x", ""),
        ("[trailer \"x\"]\ncmd = x", "[trailer]\nseparators = :"),
        ("[trailer \"x\"]\ncommand = x", ""),
        ("[uploadpack]\npackObjectsHook = x", ""),
        ("[url \"a\"]\ninsteadOf = b", ""),
        ("[url \"a\"]\npushInsteadOf = b", ""),
        ("[web]\nbrowser = x", ""),
        ("[new \"tool\"]\nthing = !x", "[user]\nname = Ann\n[core]\nbare = false"),
    ];
    assert_eq!(lines.len(), KEYS.len());
    for ((dangerous, harmless), (section, name, ..)) in lines.iter().zip(KEYS) {
        if !dangerous.is_empty() {
            let found = keys(None, dangerous);
            assert_eq!(found.len(), 1, "{section}.{name}: {dangerous}");
        }
        assert_eq!(keys(None, harmless), [""; 0], "{section}.{name}: {harmless}");
    }
}

#[test]
fn only_what_changed_is_dangerous() {
    let mine =
        "[alias]\nx = !mine\n[core]\neditor = vim\npager = less\n[remote \"o\"]\nurl = https://a\n";
    assert_eq!(keys(Some(mine), mine), [""; 0]);
    assert_eq!(
        keys(Some(mine), &format!("{mine}[user]\nname = B\n[remote \"p\"]\nurl = b")),
        [""; 0]
    );
    assert_eq!(keys(Some(mine), &mine.replace("vim", "evil")), ["core.editor"]);
    assert_eq!(keys(Some(mine), &mine.replace("https://a", "https://b")), ["remote.o.url"]);
    assert_eq!(keys(Some(mine), &format!("{mine}[alias]\ny = !other")), ["alias.y"]);
    assert_eq!(keys(Some(mine), ""), [""; 0], "what is gone runs nothing");
    // The last one counts to git: taking it away brings the one before into force.
    let twice = "[core]\npager = evil\npager = less\n";
    assert_eq!(keys(Some(twice), "[core]\npager = evil\n"), ["core.pager"]);
    assert_eq!(dangerous(None, b"[core", PLACE), Err(Unreadable));
    assert_eq!(keys(Some("[core"), "[core]\npager = x"), ["core.pager"]);
}

#[test]
fn the_worst_key_comes_first() {
    let found = dangerous(None, b"[http]\nproxy = x\n[core]\nfsmonitor = x\n", PLACE);
    let found = found.expect("readable");
    assert_eq!(found[0], ("core.fsmonitor".to_owned(), Danger::RunsByItself));
    assert_eq!(found[1], ("http.proxy".to_owned(), Danger::RunsWhenUsed));
}

#[test]
fn paths_have_roles_in_every_repository() {
    let set = |paths: &[&str]| paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    let places = GitPlaces {
        directories: set(&["bare", "odd/place", ".git/modules/refs"]),
        hooks: set(&["tools/hooks"]),
        included: set(&["team.gitconfig"]),
    };
    use Role::{Alternates, Config, Hook, MaybeConfig, Pointer, Steps};
    for (path, role) in [
        (".git/hooks/post-commit", Some(Hook)),
        (".git/hooks/post-commit.sample", None),
        (".git/hooks/lib/common", Some(Hook)),
        (".git/hooks", Some(Hook)),
        (".git", Some(Pointer)),
        ("deep/er/.git", Some(Pointer)),
        (".GIT/config", Some(Config)),
        (".git/config", Some(Config)),
        (".git/config.worktree", Some(Config)),
        (".git/worktrees/w/config.worktree", Some(Config)),
        (".git/worktrees/w/commondir", Some(Pointer)),
        (".git/worktrees/w/gitdir", None),
        (".git/commondir", Some(Pointer)),
        ("vendored/x/.git/hooks/pre-push", Some(Hook)),
        (".git/modules/lib/a/config", Some(Config)),
        (".git/modules/lib/a/hooks/pre-push", Some(Hook)),
        (".git/modules/refs/config", Some(Config)),
        (".git/modules/refs/refs/heads/config", None),
        (".git/refs/heads/config", None),
        (".git/refs/heads/hooks/x", None),
        (".git/objects/info/alternates", Some(Alternates)),
        (".git/rebase-merge/git-rebase-todo", Some(Steps)),
        (".git/index", None),
        ("bare/config", Some(Config)),
        ("bare/hooks/update", Some(Hook)),
        ("odd/place/hooks/update", Some(Hook)),
        ("tools/hooks/anything", Some(Hook)),
        ("tools/hooksmith", None),
        ("team.gitconfig", Some(Config)),
        ("app/config", Some(MaybeConfig)),
        (".gitconfig", Some(MaybeConfig)),
        ("src/hooks/useState.ts", None),
        ("notgit/hooks/x", None),
        ("x.git/hooks/update", None),
    ] {
        assert_eq!(places.role(path.as_bytes()), role, "{path}");
    }
}

#[test]
fn places_are_followed_by_their_words() {
    let at = |directory: &str, target: &str| match resolve(
        b"/home/ann/shop",
        directory.as_bytes(),
        target.as_bytes(),
    ) {
        Pointed::Inside(path) => String::from_utf8(path).expect("text"),
        Pointed::Outside => "outside".to_owned(),
    };
    for (directory, target, leads) in [
        ("", "a/./b//c", "a/b/c"),
        ("a/b", "../c", "a/c"),
        ("a", "../../c", "outside"),
        ("", "/home/ann/shop/x", "x"),
        ("", "/home/ann/shopping", "outside"),
        ("", "/home/ann/shop/../x", "outside"),
        ("a", "/etc/passwd", "outside"),
        ("a", "~/x", "outside"),
        ("a/b", "../..", ""),
    ] {
        assert_eq!(at(directory, target), leads, "{directory} {target}");
    }
    let pointed = |content: &[u8]| pointed(b"/home/ann/shop", b"sub", content);
    assert_eq!(
        pointed(b"gitdir: ../.git/modules/sub\n"),
        Some(Pointed::Inside(b".git/modules/sub".to_vec()))
    );
    assert_eq!(pointed(b"gitdir: /elsewhere"), Some(Pointed::Outside));
    assert_eq!(pointed(b"nothing"), None);
    let (hooks, included) =
        hooks_and_includes(b"[core]\nhooksPath = .githooks\n[include]\npath = ../team.gitconfig\n");
    assert_eq!((hooks, included), (vec![".githooks".into()], vec!["../team.gitconfig".into()]));
}
