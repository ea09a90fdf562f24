//! Threads of their own for work that nobody waits for.

use tokio::sync::oneshot;

/// Below all that people wait for. The disk's queue goes by it as well: a thread without an
/// I/O priority of its own gets one from this.
const NICE: i32 = 10;

/// Has the calling thread, and threads that it starts, wait for everything else. A host
/// that does not allow it is served all the same.
pub fn step_back() {
    // On Linux these are of the calling thread alone.
    if rustix::process::getpriority_process(None).is_ok_and(|own| own < NICE) {
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

/// Runs work on a new thread that steps back; `None` when it could not be started or it
/// panicked. Dropping this does not end the work.
pub async fn background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        step_back();
        // Whoever waited may be gone.
        let _ = sender.send(work());
    });
    match started {
        Ok(_) => receiver.await.ok(),
        Err(error) => {
            tracing::error!(%error, "no thread could be started");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_that_thread_steps_back() {
        let own = || rustix::process::getpriority_process(None).expect("a priority");
        let before = own();
        assert_eq!(background("test", own).await, Some(before.max(NICE)));
        assert_eq!(own(), before);
        assert_eq!(background("test", || -> u8 { panic!("on purpose") }).await, None);
    }
}
