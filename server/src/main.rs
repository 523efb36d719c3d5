//! The program `killick`: arguments in, exit code out.

#![forbid(unsafe_code)]

mod cli;

/// A call allocates some fifty times; this takes a tenth off the processor time of most (`killick bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    match killick_server::launch() {
        Some(code) => code,
        None => cli::run(std::env::args_os()),
    }
}
