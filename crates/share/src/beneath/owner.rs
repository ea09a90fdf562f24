//! Who a file seems to belong to inside the guest. On the host everything that
//! a guest makes belongs to the folder's owner and nothing ever changes hands;
//! a guest sees its own user in that place, and what it asked for meanwhile
//! is remembered for as long as the share runs (PostgreSQL refuses a data
//! directory that is not its own). Must not touch the disk.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::node::Ident;

/// Most files with an owner of their own: about 100 bytes each. Beyond, a
/// change of owner is answered with success and not remembered.
const MOST: usize = 500_000;

/// The guest's "no such id".
const NOBODY: u32 = u32::MAX;

/// Which ids stand for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owners {
    /// The folder's owner on the host.
    pub(crate) host_uid: u32,
    /// The folder's group on the host.
    pub(crate) host_gid: u32,
    /// The user that the owner is inside.
    pub(crate) guest_uid: u32,
    /// The group that the folder's group is inside.
    pub(crate) guest_gid: u32,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct OwnerView {
    owners: Owners,
    asked: RwLock<HashMap<Ident, (u32, u32)>>,
}

impl OwnerView {
    pub(crate) fn new(owners: Owners) -> Self {
        Self { owners, asked: RwLock::new(HashMap::new()) }
    }

    /// Uid and gid that the guest sees for a file with these on the host.
    pub(crate) fn seen(&self, ident: Ident, uid: u32, gid: u32) -> (u32, u32) {
        let o = self.owners;
        if uid == o.host_uid {
            let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(ids) = asked.get(&ident) {
                return *ids;
            }
        }
        let uid = if uid == o.host_uid { o.guest_uid } else { uid };
        let gid = if gid == o.host_gid { o.guest_gid } else { gid };
        (uid, gid)
    }

    /// Remembers an owner that the guest asked for; `shown` is what it saw before.
    pub(crate) fn ask(
        &self,
        ident: Ident,
        shown: (u32, u32),
        (uid, gid): (Option<u32>, Option<u32>),
    ) {
        let pick = |new: Option<u32>, old| new.filter(|id| *id != NOBODY).unwrap_or(old);
        let ids = (pick(uid, shown.0), pick(gid, shown.1));
        let mut asked = self.asked.write().unwrap_or_else(PoisonError::into_inner);
        if ids == (self.owners.guest_uid, self.owners.guest_gid) {
            asked.remove(&ident);
        } else if asked.len() < MOST || asked.contains_key(&ident) {
            asked.insert(ident, ids);
        }
    }

    /// Notes who made a file. What the guest's root makes is the user's, so
    /// that `sudo` leaves nothing that the user cannot edit; anybody else
    /// (a database in a container) sees its own id.
    pub(crate) fn made(&self, ident: Ident, uid: u32, gid: u32) {
        let o = self.owners;
        if uid == 0 || uid == o.guest_uid {
            // A file system without birth times may give the number again.
            if ident.birth == (0, 0) {
                self.gone(ident);
            }
        } else {
            self.ask(ident, (o.guest_uid, o.guest_gid), (Some(uid), Some(gid)));
        }
    }

    /// The last name of a file is gone.
    pub(crate) fn gone(&self, ident: Ident) {
        let known = {
            let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
            asked.contains_key(&ident)
        };
        if known {
            let mut asked = self.asked.write().unwrap_or_else(PoisonError::into_inner);
            asked.remove(&ident);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> OwnerView {
        OwnerView::new(Owners { host_uid: 501, host_gid: 20, guest_uid: 1000, guest_gid: 1000 })
    }

    fn ident(inode: u64) -> Ident {
        Ident { device: (8, 1), inode, birth: (1, 0) }
    }

    #[test]
    fn the_owner_is_the_guests_user_and_others_are_themselves() {
        let view = view();
        assert_eq!(view.seen(ident(1), 501, 20), (1000, 1000));
        assert_eq!(view.seen(ident(1), 0, 0), (0, 0));
        assert_eq!(view.seen(ident(1), 65_534, 20), (65_534, 1000));
    }

    #[test]
    fn what_a_guest_asks_for_it_sees() {
        let view = view();
        view.ask(ident(1), (1000, 1000), (Some(999), Some(999)));
        assert_eq!(view.seen(ident(1), 501, 20), (999, 999));
        view.ask(ident(1), (999, 999), (None, Some(5)));
        assert_eq!(view.seen(ident(1), 501, 20), (999, 5));
        view.ask(ident(1), (999, 5), (Some(1000), Some(1000)));
        assert_eq!(view.seen(ident(1), 501, 20), (1000, 1000));
        // A foreign file does not seem to change hands.
        view.ask(ident(2), (0, 0), (Some(7), Some(7)));
        assert_eq!(view.seen(ident(2), 0, 0), (0, 0));
    }

    #[test]
    fn makers_see_their_own_files_and_roots_are_the_users() {
        let view = view();
        view.made(ident(1), 999, 998);
        view.made(ident(2), 0, 0);
        view.made(ident(3), 1000, 1000);
        assert_eq!(view.seen(ident(1), 501, 20), (999, 998));
        assert_eq!(view.seen(ident(2), 501, 20), (1000, 1000));
        assert_eq!(view.seen(ident(3), 501, 20), (1000, 1000));
        view.gone(ident(1));
        assert_eq!(view.seen(ident(1), 501, 20), (1000, 1000));
    }
}
