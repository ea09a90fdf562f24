//! A gateway by itself: the specification on standard input, the ready line on
//! standard output.

fn main() {
    if let Err(error) = ringfence_gateway::run(std::io::stdin().lock(), std::io::stdout()) {
        #[expect(clippy::print_stderr, reason = "an example reports to whoever started it")]
        {
            eprintln!("gateway: {error}");
        }
        std::process::exit(1);
    }
}
