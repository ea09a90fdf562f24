//! A share or keeper process on its own, as `ringfenced` is one: for the process tests
//! and for trying by hand. Not installed. The role is the argument; the description
//! comes on stdin, see `ShareSpec` and `KeeperSpec`.

fn main() -> std::process::ExitCode {
    if std::env::args_os().nth(1).is_some_and(|role| role == "keeper") {
        return ringfence_share::keeper::run();
    }
    ringfence_share::run()
}
