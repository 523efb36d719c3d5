//! The capability in a cell, for a command that needs one of a certain kind.

use capnp::ErrorKind;
use capnp::capability::{Client, FromClientHook};
use killick_schema::api::anchor_capnp::anchor;

use super::connection::Connection;
use super::error::{CliError, is_remote};
use super::target::Target;
use super::value::{Value, kind};

/// A capability that a cell holds. Whether it is what is wanted, calls on it tell.
pub(super) struct Held {
    capability: Client,
    wanted: &'static str,
}

impl Held {
    /// What the cell at `target` holds, which is to be a `wanted`.
    pub(super) async fn at(
        connection: &Connection,
        what: &str,
        target: &Target,
        wanted: &'static str,
    ) -> Result<Self, CliError> {
        let response = connection.load(what, target).await?;
        let results = response.get().map_err(|error| CliError::call(what, &error))?;
        let value = Value::read(results.get_value(), false);
        match value.map_err(|error| CliError::call(what, &error))? {
            Value::Capability(capability) => Ok(Held { capability, wanted }),
            Value::Nothing => Err(CliError::nothing(what, "the cell is empty")),
            Value::Text(_) => Err(other(what, "text", wanted)),
            Value::Data(_) => Err(other(what, "data", wanted)),
            Value::Structure { .. } => Err(other(what, "a structure", wanted)),
        }
    }

    pub(super) fn cast_to<C: FromClientHook>(&self) -> C {
        C::new(self.capability.hook.clone())
    }

    /// What it says that it is, if that is not what is wanted.
    pub(super) async fn other(&self) -> Option<&'static str> {
        kind(&self.capability).await.filter(|&kind| kind != self.wanted)
    }

    /// Waits for the answer to a call on it.
    pub(super) async fn answer<T>(
        &self,
        connection: &Connection,
        what: &str,
        call: impl Future<Output = capnp::Result<T>>,
    ) -> Result<T, CliError> {
        match connection.answer(what, async { Ok(call.await) }).await? {
            Ok(answer) => Ok(answer),
            Err(error) if is_other(&error) => Err(self.refused(what, self.other().await)),
            Err(error) => Err(connection.call_error(what, &error)),
        }
    }

    /// The error that it is not what is wanted, but `found`, if that is known.
    pub(super) fn refused(&self, what: &str, found: Option<&str>) -> CliError {
        match found {
            Some(found) if found.starts_with(['a', 'e', 'i', 'o', 'u']) => {
                other(what, &format!("an {found}"), self.wanted)
            }
            Some(found) => other(what, &format!("a {found}"), self.wanted),
            None => unknown(what, self.wanted),
        }
    }
}

/// The anchor that the cell at `target` holds.
pub(super) async fn anchor_at(
    connection: &Connection,
    what: &str,
    target: &Target,
) -> Result<anchor::Client, CliError> {
    let held = Held::at(connection, what, target, "anchor").await?;
    let anchor: anchor::Client = held.cast_to();
    let mut itself = anchor.lookup_request();
    itself.get().set_path("");
    let found = itself.send().promise;
    match connection.answer(what, async { Ok(found.await) }).await? {
        Err(error) if is_other(&error) => Err(held.refused(what, held.other().await)),
        // What is not allowed, the command that goes through it is told.
        _ => Ok(anchor),
    }
}

/// Whether a call was answered by something that does not know it.
pub(super) fn is_other(error: &capnp::Error) -> bool {
    error.kind == ErrorKind::Unimplemented && is_remote(error)
}

/// The error that a cell holds a capability that is no `wanted`.
pub(super) fn unknown(what: &str, wanted: &str) -> CliError {
    other(what, "a capability of another kind", wanted)
}

fn other(what: &str, found: &str, wanted: &str) -> CliError {
    CliError::failed(what, format!("the cell holds {found}, and no {wanted}"))
}
