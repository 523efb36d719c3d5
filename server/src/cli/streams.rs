//! What goes into a process and comes out of it, from and to the standard streams of this program.
//!
//! These are read and written by threads of their own: whoever does not write to this program, or does not read
//! what it writes, holds up nothing but that stream.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use killick_schema::api::process_capnp::{byte_sink, byte_source, process};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use super::connection::Connection;
use super::error::{CliError, is_remote, reason};
use super::output::Output;
use super::text::hex;

/// The most bytes that are read from standard input at a time.
const CHUNK_BYTES: usize = 32 << 10;

/// How long, after a process has ended, its streams may be silent before they count as ended too: by then only
/// who has left its group has them open.
const SILENCE: Duration = Duration::from_secs(2);

/// What the server says of a stream that is none, after its name.
const NOT_PIPED: &str = " of the process is not piped";

/// The streams of a process that are pipes.
pub(super) struct Streams {
    pub(super) stdin: Option<byte_sink::Client>,
    pub(super) stdout: Option<byte_source::Client>,
    pub(super) stderr: Option<byte_source::Client>,
}

impl Streams {
    pub(super) async fn of(
        connection: &Connection,
        what: &str,
        process: &process::Client,
    ) -> Result<Self, CliError> {
        let stdin = async { process.stdin_request().send().promise.await?.get()?.get_stdin() };
        let stdout = async { process.stdout_request().send().promise.await?.get()?.get_stdout() };
        let stderr = async { process.stderr_request().send().promise.await?.get()?.get_stderr() };
        let (stdin, stdout, stderr) = tokio::try_join!(
            piped(connection, what, stdin),
            piped(connection, what, stdout),
            piped(connection, what, stderr),
        )?;
        Ok(Streams { stdin, stdout, stderr })
    }

    /// Shows what comes out until that ends, or the process has `ended` and nothing comes any more.
    pub(super) async fn show(
        &self,
        connection: &Connection,
        what: &str,
        output: &Output,
        ended: &watch::Receiver<bool>,
    ) -> Result<(), CliError> {
        let out = Writer::start("stdout", io::stdout())?;
        let err =
            if output.is_json() { out.clone() } else { Writer::start("stderr", io::stderr())? };
        let each = |source, name, to| {
            let ended = ended.clone();
            Shown { connection, what, name, to, json: output.is_json(), ended }.show(source)
        };
        let shown = async {
            tokio::try_join!(
                each(self.stdout.as_ref(), "stdout", out),
                each(self.stderr.as_ref(), "stderr", err),
            )
        };
        tokio::select! {
            shown = shown => shown.map(drop),
            () = output.closed() => Err(CliError::OutputClosed),
        }
    }

    /// Writes what comes in on standard input into the process, to its end or until the process does not read
    /// any more.
    pub(super) async fn feed(&self, connection: &Connection, what: &str) -> Result<(), CliError> {
        let Some(sink) = &self.stdin else { return Ok(()) };
        let mut chunks = read_stdin()?;
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.map_err(|error| CliError::failed("read stdin", error))?;
            let mut request = sink.write_request();
            request.get().set_data(&chunk);
            match request.send().promise.await {
                Ok(_) => {}
                // It does not read any more, or has ended.
                Err(error) if is_remote(&error) => return Ok(()),
                Err(error) => return Err(connection.call_error(what, &error)),
            }
        }
        // An error is that somebody else has closed it.
        let _ = sink.close_request().send().promise.await;
        Ok(())
    }
}

/// A stream that was asked for; nothing if it is no pipe.
async fn piped<T>(
    connection: &Connection,
    what: &str,
    asked: impl Future<Output = capnp::Result<T>>,
) -> Result<Option<T>, CliError> {
    match connection.answer(what, async { Ok(asked.await) }).await? {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if is_remote(&error) && reason(&error).ends_with(NOT_PIPED) => Ok(None),
        Err(error) => Err(connection.call_error(what, &error)),
    }
}

/// One stream that is shown.
struct Shown<'a> {
    connection: &'a Connection,
    what: &'a str,
    name: &'static str,
    to: Writer,
    json: bool,
    ended: watch::Receiver<bool>,
}

impl Shown<'_> {
    async fn show(mut self, source: Option<&byte_source::Client>) -> Result<(), CliError> {
        let Some(source) = source else { return Ok(()) };
        loop {
            let read = async { source.read_request().send().promise.await };
            let silent = async {
                // It is not given up while this is asked.
                let _ = self.ended.wait_for(|ended| *ended).await;
                tokio::time::sleep(SILENCE).await;
            };
            let answer = tokio::select! {
                biased;
                answer = read => answer,
                () = silent => return Ok(()),
            };
            let answer = answer.map_err(|error| self.connection.call_error(self.what, &error))?;
            let data = answer.get().and_then(|results| results.get_data());
            let data = data.map_err(|error| CliError::call(self.what, &error))?;
            if data.is_empty() {
                return Ok(());
            }
            let shown = if self.json { document(self.name, data) } else { data.to_vec() };
            self.to.write(shown).await?;
        }
    }
}

/// Some bytes of a stream, as one line of JSON.
fn document(stream: &str, data: &[u8]) -> Vec<u8> {
    let document = match std::str::from_utf8(data) {
        Ok(text) => json!({"stream": stream, "text": text}),
        Err(_) => json!({"stream": stream, "hex": hex(data)}),
    };
    format!("{document}\n").into_bytes()
}

/// Bytes to be written, and where to tell whether they were.
type Job = (Vec<u8>, oneshot::Sender<io::Result<()>>);

/// A stream of this program's own.
#[derive(Clone)]
struct Writer {
    name: &'static str,
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    fn start(name: &'static str, mut to: impl Write + Send + 'static) -> Result<Self, CliError> {
        let (jobs, mut ordered) = mpsc::channel::<Job>(1);
        let write = move || {
            while let Some((bytes, told)) = ordered.blocking_recv() {
                // Who has gone does not want to know.
                let _ = told.send(to.write_all(&bytes).and_then(|()| to.flush()));
            }
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(write)
            .map_err(|error| CliError::failed("start a thread", error))?;
        Ok(Writer { name, jobs })
    }

    /// Returns when all is written.
    async fn write(&self, bytes: Vec<u8>) -> Result<(), CliError> {
        let (told, written) = oneshot::channel();
        // The thread waits for jobs as long as this is there.
        let _ = self.jobs.send((bytes, told)).await;
        let written = written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::OutputClosed,
            _ => CliError::failed(format!("write to {}", self.name), error),
        })
    }
}

/// What comes in on standard input, one piece ahead of what is taken.
fn read_stdin() -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, CliError> {
    let (to, chunks) = mpsc::channel(1);
    let read = move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = match stdin.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => {
                    chunk.truncate(count);
                    Ok(chunk)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = read.is_err();
            if to.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)
        .map_err(|error| CliError::failed("start a thread", error))?;
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_stream_is_one_line_of_json_whatever_is_in_it() {
        assert_eq!(document("stdout", b"a\nb"), b"{\"stream\":\"stdout\",\"text\":\"a\\nb\"}\n");
        assert_eq!(document("stderr", b"\xff\0"), b"{\"hex\":\"ff00\",\"stream\":\"stderr\"}\n");
    }
}
