//! The lines of a file, read by a thread of their own so that a slow source never holds up the
//! answers, and handed over in batches so that a fast one is not slowed down.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::thread;
use std::vec;

use tokio::sync::mpsc;

use super::error::CliError;
use super::text::shown;
use std::os::unix::ffi::OsStrExt;

/// The longest line, in bytes: longer than any path may reasonably be.
pub(super) const LONGEST: usize = 64 << 10;
/// How many bytes are kept of a line that is longer, to show it.
const KEPT: usize = 60;
/// The most lines in a batch.
const BATCH: usize = 512;
/// The bytes after which a batch takes no more lines.
const BATCH_BYTES: usize = 512 << 10;
/// The most batches that wait.
const BATCHES: usize = 4;

/// One line, without its end.
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) text: Vec<u8>,
    /// Whether it was too long: then `text` is only its start.
    pub(super) cut: bool,
}

type Batch = io::Result<Vec<Line>>;

/// The lines of one file, in order.
pub(super) struct Lines {
    name: String,
    batches: mpsc::Receiver<Batch>,
    batch: vec::IntoIter<Line>,
}

impl Lines {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(file: &OsStr) -> Result<Self, CliError> {
        let (name, source): (String, Box<dyn Read + Send>) = match file.as_bytes() {
            b"-" => ("stdin".to_owned(), Box::new(io::stdin())),
            path => {
                let name = shown(path);
                let file = File::open(file)
                    .map_err(|error| CliError::failed(format!("open {name}"), error))?;
                (name, Box::new(file))
            }
        };
        let (sender, batches) = mpsc::channel(BATCHES);
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || read(BufReader::with_capacity(64 * 1024, source), &sender))
            .map_err(|error| CliError::failed("start a thread", error))?;
        Ok(Lines { name, batches, batch: Vec::new().into_iter() })
    }

    /// The next line, nothing after the last. Losing the future loses no line.
    pub(super) async fn next(&mut self) -> Option<Result<Line, CliError>> {
        loop {
            if let Some(line) = self.batch.next() {
                return Some(Ok(line));
            }
            match self.batches.recv().await? {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(error) => {
                    let what = format!("read {}", self.name);
                    return Some(Err(CliError::failed(what, error)));
                }
            }
        }
    }
}

/// Reads lines and hands them over until the end, an error, or nobody wants them any more.
fn read<R: Read>(mut source: BufReader<R>, to: &mpsc::Sender<Batch>) {
    let mut number = 0;
    loop {
        let (mut batch, mut held) = (Vec::with_capacity(BATCH), 0);
        // What has been read is handed over before waiting for more.
        while batch.len() < BATCH
            && held < BATCH_BYTES
            && (batch.is_empty() || !source.buffer().is_empty())
        {
            number += 1;
            match read_line(&mut source, number) {
                Ok(Some(line)) => {
                    held += line.text.len();
                    batch.push(line);
                }
                Ok(None) => {
                    let _ = to.blocking_send(Ok(batch));
                    return;
                }
                Err(error) => {
                    let _ = to.blocking_send(Ok(batch));
                    let _ = to.blocking_send(Err(error));
                    return;
                }
            }
        }
        if to.blocking_send(Ok(batch)).is_err() {
            return;
        }
    }
}

/// One line without its end, cut at [`LONGEST`]; nothing at the end of the file.
fn read_line(source: &mut impl BufRead, number: u64) -> io::Result<Option<Line>> {
    let mut text = Vec::new();
    let read = source.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut text)?;
    if read == 0 {
        return Ok(None);
    }
    let ended = text.last() == Some(&b'\n');
    if ended {
        text.pop();
    }
    let cut = text.len() > LONGEST;
    if cut {
        if !ended {
            source.skip_until(b'\n')?;
        }
        text.truncate(KEPT);
        text.shrink_to_fit();
    }
    Ok(Some(Line { number, text, cut }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut source: &[u8]) -> Vec<(u64, usize, bool)> {
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut source, lines.len() as u64 + 1).expect("a slice") {
            lines.push((line.number, line.text.len(), line.cut));
        }
        lines
    }

    #[test]
    fn batches_of_long_lines_hold_few_of_them() {
        let text = [vec![b'x'; 60_000], b"\n".to_vec()].concat().repeat(100);
        let (sender, mut batches) = mpsc::channel(100);
        read(BufReader::new(&text[..]), &sender);
        drop(sender);
        let mut lines = 0;
        while let Some(batch) = batches.blocking_recv() {
            let batch = batch.expect("a slice");
            let held: usize = batch.iter().map(|line| line.text.len()).sum();
            assert!(held <= BATCH_BYTES + LONGEST, "{held} bytes");
            lines += batch.len();
        }
        assert_eq!(lines, 100);
    }

    #[test]
    fn lines_are_numbered_from_one_and_the_last_needs_no_end() {
        assert_eq!(all(b"ab\n\nc"), [(1, 2, false), (2, 0, false), (3, 1, false)]);
        assert_eq!(all(b""), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let text = [vec![b'x'; LONGEST + 5], b"\nab\n".to_vec()].concat();
        assert_eq!(all(&text), [(1, KEPT, true), (2, 2, false)]);
        let text = [vec![b'x'; LONGEST], b"\nab\n".to_vec()].concat();
        assert_eq!(all(&text), [(1, LONGEST, false), (2, 2, false)]);
    }
}
