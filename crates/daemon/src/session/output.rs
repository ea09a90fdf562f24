//! The command's output: from ssh to the hub, at the writer's pace.

use std::sync::Arc;

use ringfence_model::attach::FromSession;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::hub::Hub;

/// How much is read at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Reads until the end. A terminal's end is an error (`EIO`), and whatever else goes
/// wrong here is the end as well.
pub(super) async fn pump(
    mut source: impl AsyncRead + Unpin,
    kind: FromSession,
    hub: Arc<Hub>,
    begin: Instant,
) {
    hub.begun(begin).await;
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = source.read(&mut piece).await {
        hub.deliver(kind, &piece[..count]).await;
    }
}
