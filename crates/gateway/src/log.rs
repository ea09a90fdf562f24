//! What a gateway has to say, as JSON lines on standard error: escaped, because names
//! and addresses come from a guest, and limited, because a guest must not fill a disk.

use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Instant;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::bucket::Bucket;
use crate::counters::lock;

/// Lines at once, then lines per second.
const LINES: (u32, u32) = (100, 1);
/// Longest line, in bytes.
const MAX_LINE: usize = 2048;

/// Sends this process's events to standard error, unless somebody already took them,
/// and ends the process when one of the threads that carry the network panics.
pub(crate) fn start() {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(Limited(Mutex::new(Bucket::new(LINES, Instant::now()))));
    let wanted = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("ringfence_gateway", LevelFilter::INFO);
    // A second call, as in tests, keeps the first.
    let _ = tracing_subscriber::registry().with(lines).with(wanted).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        tracing::error!(thread = name, panic = %panic, "a panic in the gateway");
        // A task that panics loses one connection. These threads are everybody's.
        if !name.starts_with("tokio") {
            std::process::abort();
        }
    }));
}

struct Limited(Mutex<Bucket>);

impl<'a> MakeWriter<'a> for Limited {
    type Writer = Line;

    fn make_writer(&'a self) -> Self::Writer {
        Line { wanted: lock(&self.0).take(Instant::now()) }
    }
}

/// One event's worth of output.
struct Line {
    wanted: bool,
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.wanted && text.len() <= MAX_LINE {
            io::stderr().write_all(text)?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
