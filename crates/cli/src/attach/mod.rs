//! Stand-in until the session branch brings the real one: nothing can be attached to.
use ringfence_model::attach::{Ended, Hello};
/// Stand-in.
pub async fn run(_socket: &std::path::Path, _hello: Hello) -> std::io::Result<Ended> {
    Err(std::io::Error::other("stand-in"))
}
