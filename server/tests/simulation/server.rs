//! The host with the server: the real sessions over simulated streams.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use killick_server::{Config, Held, Simulated};
use tokio::task::spawn_local;
use tokio::time::sleep;
use turmoil::net::TcpListener;

use crate::record::{Record, now};
use crate::streams::Watched;

pub(crate) const PORT: u16 = 2016;

/// How long a client may be silent. All others end with their connection when it was longer.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// How long a server may take to stop.
const DRAINED: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config {
        threads: NonZeroUsize::MIN.saturating_add(1),
        idle_timeout: Some(IDLE),
        read_timeout: Duration::from_millis(800),
        write_timeout: Duration::from_millis(800),
        ..Config::for_test([])
    }
}

/// Serves until it is told to stop, or dies.
pub(crate) async fn run(record: Rc<Record>) -> turmoil::Result {
    let server = Simulated::start(config());
    record.server_started(server.clone());
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = record.stop.notified() => break,
            accepted = listener.accept() => accepted?,
        };
        let number = record.accepted(peer);
        let (server, record) = (server.clone(), record.clone());
        spawn_local(async move {
            let watched = Watched { stream, record: record.clone(), number };
            server.serve(watched, &peer.to_string()).await;
            record.trace(now(), "server", format_args!("#{number} has ended"));
            record.closed(number);
        });
    }
    record.stopping.set(true);
    drop(listener);
    server.stop();
    let until = now() + DRAINED;
    // What was stored without an owner is still there.
    while (Held { nodes: 1, stored_bytes: 0, channels: 0, ..server.held() }) != Held::NOTHING {
        if now() > until {
            record.wrong(format_args!("{:?} a stopped server holds {:?}", now(), server.held()));
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
