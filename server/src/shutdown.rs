//! Stopping: the signal that asks for it.
//!
//! What then happens, and who does it:
//!
//! 1. The listeners stop accepting and remove their socket files (`listen`).
//! 2. Each connection lets the calls that are running finish, up to a limit, then says good-bye and
//!    flushes, up to a limit, then closes its stream (`session`).
//! 3. Each worker waits for its connections and ends (`worker`).

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at the first SIGINT or SIGTERM. Must be called within a runtime.
///
/// # Errors
/// The system refused to have the signals watched.
pub async fn stop_signal() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
