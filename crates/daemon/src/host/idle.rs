//! Work that gives way to everything else on the computer: a thread of its own with the
//! lowest priority, by which the kernel also orders its reading from disks.

use std::io;

/// The least favourable priority.
const LOWEST: i32 = 19;

/// Runs blocking work at the lowest priority.
///
/// # Errors
/// When no thread can be started, or the work panicked.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("idle".into()).spawn(move || {
        // On Linux this is the thread's own; where it is refused the work is done all the same.
        let _ = rustix::process::nice(LOWEST);
        // Nobody waits any more when the daemon ends.
        let _ = answer.send(work());
    })?;
    answered.await.map_err(|_| io::Error::other("it panicked"))
}
