//! What waits to be sent to one client: frames, counted in bytes, with a bound that the
//! producers respect by waiting for room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A frame, shared among the clients that get it.
pub(super) type Frame = Arc<[u8]>;

/// Frames for one client.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A frame came, or the queue was closed.
    filled: Notify,
    /// Frames were taken, or the client is gone.
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
    gone: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a frame; the caller has waited for room. Nothing happens when the client is gone.
    pub(super) fn push(&self, frame: Frame) {
        let mut state = self.state();
        if !state.gone && !state.closed {
            state.bytes += frame.len();
            state.frames.push_back(frame);
            self.filled.notify_one();
        }
    }

    /// Whether fewer than `limit` bytes wait; always true when the client is gone.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        let state = self.state();
        state.gone || state.bytes < limit
    }

    /// Waits until fewer than `limit` bytes wait, or the client is gone.
    pub(super) async fn room(&self, limit: usize) {
        loop {
            let drained = self.drained.notified();
            if self.has_room(limit) {
                return;
            }
            drained.await;
        }
    }

    /// The next frame; `None` when the queue is closed and empty, or the client is gone.
    pub(super) async fn pop(&self) -> Option<Frame> {
        loop {
            let filled = self.filled.notified();
            {
                let mut state = self.state();
                if state.gone {
                    return None;
                }
                if let Some(frame) = state.frames.pop_front() {
                    state.bytes -= frame.len();
                    self.drained.notify_waiters();
                    return Some(frame);
                }
                if state.closed {
                    return None;
                }
            }
            filled.await;
        }
    }

    /// No frame follows; what waits is still sent.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }

    /// The client is gone: forget what waits and hold nobody up.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.gone = true;
        state.bytes = 0;
        state.frames.clear();
        self.filled.notify_one();
        self.drained.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_holds_its_producer_up_until_it_is_read_or_abandoned() {
        let queue = Arc::new(Queue::default());
        queue.push(Arc::from(&[0u8; 10][..]));
        assert!(queue.has_room(11) && !queue.has_room(10));
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.room(10).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(queue.pop().await.map(|frame| frame.len()), Some(10));
        waiting.await.expect("joins");
        queue.push(Arc::from(&[0u8; 10][..]));
        queue.close();
        assert!(queue.pop().await.is_some());
        assert!(queue.pop().await.is_none());
        let queue = Queue::default();
        queue.push(Arc::from(&[0u8; 10][..]));
        queue.abandon();
        queue.room(1).await;
        assert!(queue.pop().await.is_none());
    }
}
