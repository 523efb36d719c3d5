//! Connections that are not served: counted all, and told in the log as long as they are few. Whoever can
//! reach the server can cause them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use crate::few::Few;

/// Why a connection is not served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// The server has its limit of connections.
    Full,
    /// More TLS handshakes are under way than may be.
    Handshakes,
    /// Who it is shows at once, and is not let in.
    Stranger,
    /// It has not shown who it is, or that one is not let in.
    Unproven,
}

/// The connections that were not served.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: AtomicU64,
    lines: [Few; 4],
}

impl Refusals {
    /// Notes that `peer` is not served, and why.
    pub(crate) fn note(&self, kind: Refusal, peer: &str, reason: &dyn fmt::Display) {
        // Relaxed, here and below: a count for people to read.
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.lines[kind as usize].next() {
            let left_out = (left_out > 0).then_some(left_out);
            warn!(peer, %reason, left_out, "connection refused");
        }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
