//! Standard input into the session, as much as the command takes.

use std::io;
use std::os::fd::AsFd;

use ringfence_model::attach::FromClient;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::local::Local;

/// How much is read at once, in bytes.
const PIECE: usize = 32 * 1024;

/// Sends input until its end, until the command reads no more, or until the attachment
/// is over. Never reads ahead of what the session asked for, so that what was typed
/// for the next program is still there.
pub(super) fn pump(local: &Local) {
    let stdin = io::stdin();
    let stdin = stdin.as_fd();
    let mut piece = vec![0; PIECE];
    while let Some(window) = local.window() {
        let mut ready =
            [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&local.wake, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !ready[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        let most = window.min(PIECE);
        match rustix::io::read(stdin, &mut piece[..most]) {
            Ok(0) => return local.sender.send(FromClient::StdinEnd, &[]),
            Ok(count) => {
                local.use_window(count);
                local.sender.send(FromClient::Stdin, &piece[..count]);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The terminal is gone, or belongs to somebody else for good.
            Err(_) if local.is_raw() => return,
            Err(_) => return local.sender.send(FromClient::StdinEnd, &[]),
        }
    }
}
