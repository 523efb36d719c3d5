//! How far an import is, on stderr: a line that is redrawn on a terminal, one now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::super::text::{counted, grouped};
use super::Tally;

/// How many answers pass before the clock is looked at.
const STRIDE: u32 = 64;

pub(super) struct Progress {
    terminal: bool,
    quiet: bool,
    calls: u32,
    started: Instant,
    shown: Instant,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let now = Instant::now();
        let terminal = io::stderr().is_terminal();
        Progress { terminal, quiet, calls: 0, started: now, shown: now }
    }

    /// Shows the state if it is time to. That stderr may be gone is no reason to stop.
    pub(super) fn show(&mut self, tally: &Tally) {
        self.calls = self.calls.wrapping_add(1);
        if self.quiet || !self.calls.is_multiple_of(STRIDE) {
            return;
        }
        let now = Instant::now();
        let pause = if self.terminal { Duration::from_millis(100) } else { Duration::from_secs(5) };
        if now - self.shown < pause {
            return;
        }
        self.shown = now;
        let rate = grouped(tally.rate(now - self.started) as u64);
        let mut line = format!("{} ({rate}/s)", counted(tally.stored, "path"));
        if tally.malformed + tally.rejected > 0 {
            line.push_str(&format!(", {} refused", grouped(tally.malformed + tally.rejected)));
        }
        let (before, after) = if self.terminal { ("\r\x1b[K", "") } else { ("killick: ", "\n") };
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{before}{line}{after}").and_then(|()| stderr.flush());
    }

    /// Removes the line that was redrawn.
    pub(super) fn clear(&self) {
        if self.terminal && !self.quiet && self.shown != self.started {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
