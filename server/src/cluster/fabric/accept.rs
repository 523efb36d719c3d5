//! Those who dial this host.

use std::sync::Arc;

use quinn::{Connection, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Inner;
use super::dial::{WELCOME, chain_of, keep};
use super::link::Code;
use super::refused::{Kind, Refused};
use super::table::Unkept;

/// Takes in who dials, until the fabric is shut down. Who comes while there are too many handshakes waits.
pub(super) async fn accept(inner: Arc<Inner>) {
    let places = Arc::new(Semaphore::new(inner.options.handshakes));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(incoming) = inner.endpoint.accept().await else { return };
        // Half of the places are for those who are where they say they are.
        let many = places.available_permits() < inner.options.handshakes / 2;
        if many && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        inner.runtime.spawn(receive(inner.clone(), incoming, place));
    }
}

async fn receive(inner: Arc<Inner>, incoming: Incoming, place: OwnedSemaphorePermit) {
    let at = incoming.remote_address();
    let limit = inner.options.dial;
    let received = timeout(limit, shake_hands(&inner, incoming)).await;
    drop(place);
    let broken = |why: String| Refused { kind: Kind::Broken, why };
    let late = |_| Err(broken(format!("no handshake within {limit:?}")));
    if let Err(refused) = received.unwrap_or_else(late) {
        inner.refused.note(at, &refused);
    }
}

/// Lets in who shows to be a host of the cluster, and says so.
async fn shake_hands(inner: &Arc<Inner>, incoming: Incoming) -> Result<(), Refused> {
    let standing = inner.table().standing().clone();
    let broken = |error| Refused::by(&error, &standing.identity);
    let connecting = incoming.accept_with(standing.server.clone()).map_err(broken)?;
    let connection = connecting.await.map_err(broken)?;
    let chain = chain_of(&connection);
    let host = match standing.identity.host_in(&chain) {
        Ok(host) => host,
        Err(why) => {
            connection.close(Code::NotAHost.into(), why.to_string().as_bytes());
            return Err(why.into());
        }
    };
    // This host has met itself, or another process with its key: it is told which, and closes the connection.
    if host == inner.host {
        let _ = say(&connection, &inner.life).await;
        connection.closed().await;
        return Ok(());
    }
    keep(inner, &standing, connection.clone(), host, chain).map_err(unkept)?;
    let said = say(&connection, &WELCOME).await;
    said.map_err(|error| Refused { kind: Kind::Broken, why: error.to_string() })
}

fn unkept(Unkept(code, why): Unkept) -> Refused {
    let kind = match code {
        Code::NotAHost => Kind::Revoked,
        Code::TooMany => Kind::TooMany,
        Code::Ended | Code::Unknown => Kind::Broken,
    };
    Refused { kind, why }
}

/// Says something on a stream of its own.
async fn say(connection: &Connection, words: &[u8]) -> Result<(), quinn::WriteError> {
    let mut stream = connection.open_uni().await?;
    stream.write_all(words).await?;
    // An error says that it has been stopped, and nobody wants the words.
    let _ = stream.finish();
    Ok(())
}
