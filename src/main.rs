//! The binary: arguments in, exit code out.

use std::process::ExitCode;

/// Decoding of entries is much faster with it than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    scim_relay::cli::main()
}
