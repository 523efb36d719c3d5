//! A process that a host has started, for the commands that use one at a path.

use std::fmt;
use std::time::Duration;

use killick_schema::api::process_capnp::{process, status};
use serde_json::{Value as Json, json};

use super::connection::Connection;
use super::error::CliError;
use super::held::Held;
use super::target::Target;
use super::value::PROCESS;

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Exited(u32),
    Signalled(u32),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Running => f.write_str("running"),
            State::Exited(code) => write!(f, "exited {code}"),
            State::Signalled(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a server tells of a process.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) state: State,
    pub(super) pid: u32,
    pub(super) program: String,
    pub(super) age: Duration,
}

impl Status {
    /// That of `process`, whatever that is in truth.
    pub(super) async fn ask(process: &process::Client) -> capnp::Result<Self> {
        let response = process.status_request().send().promise.await?;
        Status::read(response.get()?.get_status()?)
    }

    fn read(from: status::Reader<'_>) -> capnp::Result<Self> {
        Ok(Status {
            state: match from.which()? {
                status::Running(()) => State::Running,
                status::Exited(code) => State::Exited(code),
                status::Signalled(signal) => State::Signalled(signal),
            },
            pid: from.get_pid(),
            program: String::from_utf8_lossy(from.get_program()?.as_bytes()).into_owned(),
            age: Duration::from_millis(from.get_age_millis()),
        })
    }

    pub(super) fn json(&self, path: &str) -> Json {
        let mut line = json!({
            "path": path,
            "pid": self.pid,
            "program": self.program,
            "ageMillis": u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
        });
        match self.state {
            State::Running => line["state"] = "running".into(),
            State::Exited(code) => (line["state"], line["code"]) = ("exited".into(), code.into()),
            State::Signalled(signal) => {
                (line["state"], line["signal"]) = ("signalled".into(), signal.into());
            }
        }
        line
    }
}

/// The process that the cell at `target` holds.
pub(super) async fn process_at(
    connection: &Connection,
    what: &str,
    target: &Target,
) -> Result<process::Client, CliError> {
    let held = Held::at(connection, what, target, PROCESS).await?;
    let process: process::Client = held.cast_to();
    // What it is not, it does not answer to.
    held.answer(connection, what, Status::ask(&process)).await?;
    Ok(process)
}

/// Waits for the end of `process`, for as long as that takes: what it ended with.
pub(super) async fn ended(
    connection: &Connection,
    what: &str,
    process: &process::Client,
) -> Result<u32, CliError> {
    let waited = async {
        let response = process.wait_request().send().promise.await?;
        Ok(response.get()?.get_exit_code())
    };
    waited.await.map_err(|error| connection.call_error(what, &error))
}

/// Ends a command as the process that it stood for has ended.
pub(super) fn end_with(code: u32) -> Result<(), CliError> {
    match code {
        0 => Ok(()),
        code => Err(CliError::Ended(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}
