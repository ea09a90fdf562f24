//! The person's Ctrl-C, while it is meant for this program.
//!
//! One listener from the start to the end, so that no Ctrl-C falls between two waits.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

/// Interrupts that came since the listener was made, and those to come.
#[derive(Debug)]
pub struct Interrupts(Mutex<Signal>);

impl Interrupts {
    /// Listens from now on. Needs a runtime.
    ///
    /// # Errors
    /// When no handler can be installed.
    pub fn listen() -> io::Result<Self> {
        Ok(Self(Mutex::new(signal(SignalKind::interrupt())?)))
    }

    /// Waits for one.
    pub async fn next(&self) {
        if self.0.lock().await.recv().await.is_none() {
            // The runtime is ending: there is nothing to wait for any more.
            std::future::pending::<()>().await;
        }
    }

    /// Forgets those that came: they were meant for the command inside.
    ///
    /// # Errors
    /// When no handler can be installed.
    pub async fn forget(&self) -> io::Result<()> {
        *self.0.lock().await = signal(SignalKind::interrupt())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Number, getpid, kill_process};
    use std::time::Duration;

    #[tokio::test]
    async fn one_that_came_before_the_wait_counts_until_it_is_forgotten() {
        let interrupts = Interrupts::listen().expect("a listener");
        // A second listener tells when the signal has arrived.
        let witness = Interrupts::listen().expect("a listener");
        for forgotten in [false, true] {
            kill_process(getpid(), Number::INT).expect("sent");
            witness.next().await;
            if forgotten {
                interrupts.forget().await.expect("a listener");
            }
            let came = tokio::time::timeout(Duration::from_millis(50), interrupts.next()).await;
            assert_eq!(came.is_err(), forgotten);
        }
    }
}
