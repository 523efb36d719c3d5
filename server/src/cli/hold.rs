//! Holding on to something until a signal, or until it is lost.

use std::time::Duration;

use capnp::ErrorKind;
use killick::Denied;
use killick_schema::api::anchor_capnp::anchor;

use super::Context;
use super::error::{CliError, is_remote, reason};
use super::signal::Interrupt;

/// How long what is held may have been lost before that is noticed.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl Context {
    /// Goes on until `interrupt`, with the connection open and `held` held; or, if it `may_be_lost` while the
    /// connection stays, until it is: its host has gone, or what gave it was revoked.
    pub(super) async fn hold(
        &mut self,
        what: &str,
        held: &anchor::Client,
        may_be_lost: bool,
        mut interrupt: Interrupt,
    ) -> Result<(), CliError> {
        self.output.flush()?;
        tokio::select! {
            () = interrupt.received() => Ok(()),
            error = self.connection.ended(what) => Err(error),
            error = lost(held), if may_be_lost => Err(match is_revoked(&error) {
                true => CliError::call(what, &error),
                false => CliError::failed(what, format!("disconnected: {}", reason(&error))),
            }),
        }
    }
}

/// Asks now and then, with a call that whoever holds an anchor may make or is told that he may not, until
/// the answer is that it is no more.
async fn lost(held: &anchor::Client) -> capnp::Error {
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let mut itself = held.lookup_request();
        itself.get().set_path("");
        if let Err(error) = itself.send().promise.await
            && is_remote(&error)
            && (is_revoked(&error) || error.kind == ErrorKind::Disconnected)
        {
            return error;
        }
    }
}

fn is_revoked(error: &capnp::Error) -> bool {
    reason(error).parse() == Ok(Denied::Revoked)
}
