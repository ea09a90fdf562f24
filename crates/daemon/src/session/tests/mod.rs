//! The whole process against a real OpenSSH server on loopback and the real guest
//! service. Skipped aloud where `sshd` (package openssh-server), `python3` or a C
//! compiler is missing.

mod harness;
mod life;
mod pipes;
mod terminal;

/// Not a test: the session process of the other tests, which run this binary again.
#[test]
#[ignore = "is run by the other tests as the session process"]
fn as_session() {
    let _ = super::run(std::io::stdin(), std::io::stdout());
}
