//! A share process on its own, as the daemon's binary starts it: for trying by
//! hand and for the process tests. Description on stdin, see `ShareSpec`.

fn main() -> std::process::ExitCode {
    ringfence_share::run()
}
