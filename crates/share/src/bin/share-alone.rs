//! A share process on its own, as `ringfenced share` is one: for the process tests
//! and for trying by hand. Not installed. Description on stdin, see `ShareSpec`.

fn main() -> std::process::ExitCode {
    ringfence_share::run()
}
