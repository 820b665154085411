//! The program: parse arguments, run one command, give its exit code.

use std::process::ExitCode;

use clap::Parser;
use ecr_admission::commands::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ecr-admission: {error:#}");
            ExitCode::from(2)
        }
    }
}
