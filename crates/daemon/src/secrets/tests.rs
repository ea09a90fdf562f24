use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const VALUE: &str = "hunter2-5f1c";

fn secret(source: SecretSource) -> Secret {
    Secret { name: SecretName::new("api-key").expect("name"), source, variable: "KEY".into() }
}

async fn refused(source: SecretSource, folders: &[PathBuf]) -> ApiError {
    let error = read(&secret(source), folders).await.expect_err("is refused");
    let all = format!("{error:?}");
    assert!(!all.contains(VALUE), "{all}");
    assert!(error.message.starts_with("secret api-key cannot be had from"), "{}", error.message);
    assert_eq!(error.hints.len(), 1, "{error:?}");
    error
}

fn written(directory: &Path, name: &str, mode: u32) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("{VALUE}\n")).expect("writes");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
    path
}

fn sh(script: &str) -> SecretSource {
    SecretSource::Command(["sh", "-c", script].map(Into::into).into())
}

#[tokio::test]
async fn a_file_of_the_user_s_alone_is_read() {
    let place = tempfile::tempdir().expect("directory");
    let directory = place.path().canonicalize().expect("canonical");
    for mode in [0o600, 0o400] {
        let path = written(&directory, &format!("{mode:o}"), mode);
        let carried = read(&secret(SecretSource::File(path)), &[]).await.expect("reads");
        assert_eq!(carried.value.expose(), VALUE.as_bytes());
        assert_eq!(carried.delivery, Delivery::Environment("KEY".into()));
        assert!(!format!("{carried:?}").contains(VALUE));
    }
}

#[tokio::test]
async fn a_file_that_others_can_read_is_refused() {
    let place = tempfile::tempdir().expect("directory");
    let directory = place.path().canonicalize().expect("canonical");
    for mode in [0o640, 0o604, 0o620, 0o601] {
        let path = written(&directory, &format!("{mode:o}"), mode);
        let error = refused(SecretSource::File(path.clone()), &[]).await;
        assert_eq!(error.kind, ErrorKind::Config);
        assert_eq!(error.hints, [format!("chmod 600 {}", path.display())]);
    }
}

#[tokio::test]
async fn a_file_of_another_user_s_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a file away.
    }
    let place = tempfile::tempdir().expect("directory");
    let path = written(&place.path().canonicalize().expect("canonical"), "key", 0o600);
    std::os::unix::fs::chown(&path, Some(65_534), None).expect("gives it away");
    let error = refused(SecretSource::File(path), &[]).await;
    assert!(error.message.contains("another user"), "{}", error.message);
}

#[tokio::test]
async fn no_link_is_followed_to_a_secret() {
    let place = tempfile::tempdir().expect("directory");
    let directory = place.path().canonicalize().expect("canonical");
    let path = written(&directory, "key", 0o600);
    symlink(&path, directory.join("link")).expect("links");
    symlink(&directory, directory.join("around")).expect("links");
    for way in ["link", "around/key"] {
        let error = refused(SecretSource::File(directory.join(way)), &[]).await;
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.hints[0].contains(&*path.to_string_lossy()), "{}", error.hints[0]);
    }
}

#[tokio::test]
async fn a_file_in_a_folder_is_refused_whichever_way_it_is_named() {
    let place = tempfile::tempdir().expect("directory");
    let directory = place.path().canonicalize().expect("canonical");
    let folder = directory.join("shop");
    fs::create_dir_all(folder.join("sub")).expect("makes");
    written(&folder, "key", 0o600);
    for way in ["shop/key", "shop/sub/../key", "shop/../shop/key"] {
        let source = SecretSource::File(directory.join(way));
        let error = refused(source, std::slice::from_ref(&folder)).await;
        assert!(error.message.contains("an agent could"), "{}", error.message);
    }
}

#[tokio::test]
async fn what_is_no_file_does_not_hold_anybody_up() {
    let place = tempfile::tempdir().expect("directory");
    let directory = place.path().canonicalize().expect("canonical");
    let pipe = directory.join("pipe");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("a pipe");
    assert!(refused(SecretSource::File(pipe), &[]).await.message.contains("not a plain file"));
    let error = refused(SecretSource::File(directory.join("gone")), &[]).await;
    assert!(error.hints[0].contains("install -m 600 /dev/stdin"), "{}", error.hints[0]);
    let empty = directory.join("empty");
    fs::write(&empty, "\n").expect("writes");
    fs::set_permissions(&empty, Permissions::from_mode(0o600)).expect("mode");
    assert!(refused(SecretSource::File(empty), &[]).await.message.ends_with("it is empty"));
}

#[tokio::test]
async fn a_command_s_output_is_the_value_and_its_failure_shows_none_of_it() {
    let carried = read(&secret(sh(&format!("echo {VALUE}"))), &[]).await.expect("reads");
    assert_eq!(carried.value.expose(), VALUE.as_bytes());
    // Printed by parts, so that the words of the command are not what is found.
    let leaky = "a=hunter2; echo $a-5f1c; echo $a-5f1c >&2; exit 3";
    let error = refused(sh(leaky), &[]).await;
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.message.contains("exit status: 3"), "{}", error.message);
    let error = refused(SecretSource::Command(vec!["no-such-program-here".into()]), &[]).await;
    assert_eq!(error.kind, ErrorKind::Config);
    let error = refused(sh("yes | head -c 70000"), &[]).await;
    assert!(error.message.contains("longer than"), "{}", error.message);
}

#[tokio::test]
async fn a_variable_that_is_not_set_is_named() {
    let error = refused(SecretSource::Environment("RINGFENCE_NO_SUCH".into()), &[]).await;
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.hints[0].contains("export RINGFENCE_NO_SUCH"), "{}", error.hints[0]);
}

#[test]
fn words_are_quoted_for_a_shell() {
    assert_eq!(shell_word("/home/ann/key"), "/home/ann/key");
    assert_eq!(shell_word("it's"), r"'it'\''s'");
    assert_eq!(shell_word(""), "''");
    assert_eq!(shell_word("a\u{1b}[2J"), r"'a\u{1b}[2J'");
}
