//! Whose rights the process has. As root it takes a uid of its own in a user
//! name space that maps this uid and the folder's owner and nobody else; as a
//! user, its own uid in a name space of its own.

use std::fs;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use super::ConfineError;
use super::mounts::Left;
use crate::spec::Protection;

/// Everything but mounts, which come at a time of their own.
const OTHERS: CloneFlags =
    CloneFlags::CLONE_NEWNET.union(CloneFlags::CLONE_NEWIPC).union(CloneFlags::CLONE_NEWUTS);

/// What a helper with root's rights writes into a process's id maps.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mapping {
    pid: u32,
    uids: Vec<u32>,
    gids: Vec<u32>,
}

fn missing(source: io::Error) -> ConfineError {
    ConfineError::Missing {
        protection: Protection::Namespaces,
        what: "a user name space",
        source,
        cure: "set kernel.unprivileged_userns_clone=1 and user.max_user_namespaces above 0; on \
               Ubuntu allow user name spaces for this program in AppArmor \
               (kernel.apparmor_restrict_unprivileged_userns)",
    }
}

/// As an ordinary user.
pub(super) fn enter_as_user(
    (uid, gid): (u32, u32),
    mounts: impl FnOnce() -> Result<Left, ConfineError>,
) -> Result<Left, ConfineError> {
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | OTHERS;
    unshare(flags).map_err(|errno| missing(errno.into()))?;
    // Ubuntu lets the name space be made and takes its rights away: then
    // writing the map or mounting fails.
    fs::write("/proc/self/setgroups", "deny").map_err(missing)?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1\n")).map_err(missing)?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1\n")).map_err(missing)?;
    mounts()
}

/// As root.
pub(super) fn enter_as_root(
    run_as: u32,
    owner: (u32, u32),
    mounts: impl FnOnce() -> Result<Left, ConfineError>,
) -> Result<Left, ConfineError> {
    let helper = start_helper().map_err(ConfineError::step("starting the helper for id maps"))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(ConfineError::step("a mount name space"))?;
    let left = mounts()?;
    setgroups(&[]).map_err(ConfineError::step("leaving root's groups"))?;
    unshare(CloneFlags::CLONE_NEWUSER | OTHERS).map_err(|errno| missing(errno.into()))?;
    let mapping = Mapping {
        pid: std::process::id(),
        uids: distinct(run_as, owner.0),
        gids: distinct(run_as, owner.1),
    };
    finish_helper(helper, &mapping).map_err(ConfineError::step("mapping ids"))?;

    rustix::thread::set_keep_capabilities(true).map_err(ConfineError::step("changing ids"))?;
    let (own_gid, own_uid) = (Gid::from_raw(run_as), Uid::from_raw(run_as));
    setresgid(own_gid, own_gid, own_gid).map_err(ConfineError::step("changing the gid"))?;
    setresuid(own_uid, own_uid, own_uid).map_err(ConfineError::step("changing the uid"))?;
    rustix::thread::set_keep_capabilities(false).map_err(ConfineError::step("changing ids"))?;
    // Changing the uid cleared the effective set; what is permitted is still there.
    let mut sets =
        rustix::thread::capabilities(None).map_err(ConfineError::step("reading capabilities"))?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets)
        .map_err(ConfineError::step("raising capabilities"))?;
    file_owner(owner)?;
    Ok(left)
}

/// Without a user name space (by a rule): the folder's owner, without any privilege.
pub(super) fn become_owner((uid, gid): (u32, u32)) -> Result<(), ConfineError> {
    setgroups(&[]).map_err(ConfineError::step("leaving root's groups"))?;
    let (gid, uid) = (Gid::from_raw(gid), Uid::from_raw(uid));
    setresgid(gid, gid, gid).map_err(ConfineError::step("changing the gid"))?;
    setresuid(uid, uid, uid).map_err(ConfineError::step("changing the uid"))
}

/// Files are made as the folder's owner; threads that start later inherit it.
fn file_owner((uid, gid): (u32, u32)) -> Result<(), ConfineError> {
    setfsgid(Gid::from_raw(gid));
    setfsuid(Uid::from_raw(uid));
    // These calls do not say whether they worked: asking with an impossible id does.
    let now =
        (setfsuid(Uid::from_raw(u32::MAX)).as_raw(), setfsgid(Gid::from_raw(u32::MAX)).as_raw());
    if now == (uid, gid) {
        Ok(())
    } else {
        Err(ConfineError::Step {
            step: "making files as the folder's owner",
            source: io::Error::other(format!("the ids are {now:?}, not {:?}", (uid, gid))),
        })
    }
}

fn distinct(one: u32, other: u32) -> Vec<u32> {
    if one == other { vec![one] } else { vec![one, other] }
}

/// This program once more, with the same arguments: it reads a [`Mapping`]
/// instead of a share's description. It must be there before the name spaces
/// change, since afterwards nothing outside has a name.
fn start_helper() -> io::Result<Child> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the share's one child: itself, as the helper that writes its id maps"
    )]
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
}

fn finish_helper(mut helper: Child, mapping: &Mapping) -> io::Result<()> {
    let mut line = serde_json::to_vec(&serde_json::json!({ "map_ids": mapping }))?;
    line.push(b'\n');
    let mut stdin =
        helper.stdin.take().ok_or_else(|| io::Error::other("the helper has no stdin"))?;
    stdin.write_all(&line)?;
    drop(stdin);
    let status = helper.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("the helper ended with {status}")))
    }
}

/// The helper's whole work.
pub(crate) fn map_for(mapping: &Mapping) -> io::Result<()> {
    let text = |ids: &[u32]| -> String { ids.iter().map(|id| format!("{id} {id} 1\n")).collect() };
    let pid = mapping.pid;
    fs::write(format!("/proc/{pid}/gid_map"), text(&mapping.gids))?;
    fs::write(format!("/proc/{pid}/uid_map"), text(&mapping.uids))
}
