//! A process that a host has started, for the commands that use one at a path.

use killick_client::internal::read_status;
use killick_client::{ProcessState, ProcessStatus};
use killick_schema::api::process_capnp::process;
use serde_json::{Value as Json, json};

use super::connection::Connection;
use super::error::CliError;
use super::held::Held;
use super::target::Target;
use super::value::PROCESS;

/// What a server tells of `process`, whatever that is in truth.
pub(super) async fn status_of(process: &process::Client) -> capnp::Result<ProcessStatus> {
    let response = process.status_request().send().promise.await?;
    read_status(response.get()?.get_status()?)
}

pub(super) fn status_json(status: &ProcessStatus, path: &str) -> Json {
    let mut line = json!({
        "path": path,
        "pid": status.pid,
        "program": status.program,
        "ageMillis": u64::try_from(status.age.as_millis()).unwrap_or(u64::MAX),
    });
    match status.state {
        ProcessState::Exited(code) => {
            (line["state"], line["code"]) = ("exited".into(), code.into());
        }
        ProcessState::Signalled(signal) => {
            (line["state"], line["signal"]) = ("signalled".into(), signal.into());
        }
        state => line["state"] = state.to_string().into(),
    }
    line
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
    held.answer(connection, what, status_of(&process)).await?;
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
