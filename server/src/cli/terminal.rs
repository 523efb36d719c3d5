//! The terminal that a command shows a picture on: its size, and the key that ends it.

use std::io::{self, IsTerminal, Read};

use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How many columns and rows a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// That of the terminal on standard output; the usual one if it does not tell.
    pub(super) fn of_stdout() -> Self {
        match tcgetwinsize(io::stdout()) {
            Ok(told) if told.ws_col > 0 && told.ws_row > 0 => {
                Size { columns: told.ws_col.into(), rows: told.ws_row.into() }
            }
            _ => Size { columns: 80, rows: 24 },
        }
    }

    /// As much of `lines` as fits above `last` and the line that the cursor stands in.
    pub(super) fn fit(self, lines: Vec<String>, last: &str) -> Vec<String> {
        let mut fitting: Vec<_> = lines.into_iter().take(self.rows.saturating_sub(2)).collect();
        fitting.push(last.to_owned());
        let cut = |line: String| match line.char_indices().nth(self.columns) {
            Some((end, _)) => line[..end].to_owned(),
            None => line,
        };
        fitting.into_iter().map(cut).collect()
    }
}

/// What is typed, key by key and not shown, until this is dropped.
pub(super) struct Keys {
    before: Termios,
    typed: UnboundedReceiver<u8>,
}

impl Keys {
    /// Listens to the terminal on standard input, if there is one and it is this program's at the moment.
    pub(super) fn listen() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || tcgetpgrp(&stdin).ok()? != getpgrp() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut each = before.clone();
        each.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &each).ok()?;
        let (type_one, typed) = unbounded_channel();
        // It ends with the program, or with the terminal.
        std::thread::spawn(move || {
            let keys = io::stdin().lock().bytes().map_while(Result::ok);
            keys.map_while(|key| type_one.send(key).ok()).for_each(drop);
        });
        Some(Keys { before, typed })
    }

    /// Resolves when `key` has been typed.
    async fn typed(&mut self, key: u8) {
        loop {
            match self.typed.recv().await {
                Some(typed) if typed == key => return,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // An error means that the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Resolves when `key` has been typed; never without a terminal.
pub(super) async fn typed(keys: &mut Option<Keys>, key: u8) {
    match keys {
        Some(keys) => keys.typed(key).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut_off_below_and_at_the_right() {
        let lines = || ["one", "zwölf", "three"].map(str::to_owned).to_vec();
        let fit = |columns, rows| Size { columns, rows }.fit(lines(), "the end");
        assert_eq!(fit(80, 24), ["one", "zwölf", "three", "the end"]);
        assert_eq!(fit(3, 4), ["one", "zwö", "the"]);
        assert_eq!(fit(80, 1), ["the end"]);
    }
}
