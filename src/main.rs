//! The `tbprov` command. Everything that can be wrong becomes an exit code in one place: `cli::main`.

mod cli;
mod output;

fn main() -> std::process::ExitCode {
    cli::main()
}
