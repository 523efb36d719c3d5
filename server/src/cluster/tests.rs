//! Whole servers that are hosts of one cluster, in one process, over real sockets.

use std::time::Duration;

use killick_client::{Client, Options};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use super::ClusterConfig;
use super::ident::testing::{Ca, For};
use crate::{Config, Server};

/// The longest that anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host that takes part as `cluster` says.
fn start(cluster: ClusterConfig) -> Server {
    let listen = ["tcp:127.0.0.1:0".parse().expect("an address")];
    Server::start(Config { cluster: Some(cluster), ..Config::for_test(listen) }).expect("started")
}

async fn client(server: &Server) -> Client {
    let options = Options { timeout: Some(PATIENCE), ..Options::default() };
    Client::connect(&server.addresses()[0], options).await.expect("a client")
}

/// Waits until something is the case, not for ever.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(Default::default()).expect("a runtime");
    runtime.block_on(test);
}

#[test]
fn a_host_that_is_in_a_later_list_of_the_revoked_is_out_without_a_reload() {
    run(async {
        let mut ca = Ca::new("ca");
        let issued = ["a", "b"].map(|name| ca.issue(name, For::Host));
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        let config = |index: usize| ClusterConfig::new(issued[index].load(), anywhere);
        let a = start(config(0));
        let join = vec![a.cluster_address().expect("a cluster").to_string().parse().expect("one")];
        let b = start(ClusterConfig { join, ..config(1) });
        let client = client(&a).await;
        let path = format!("/{:016x}/x", b.host_id());
        eventually("the other one is reached", async || {
            client.store_at(&path, "there", true).await.is_ok()
        })
        .await;
        // Nothing of that changes whom it takes.
        issued[0].write("crl.pem", "no list");
        sleep(super::run::FILES_PAUSE * 3).await;
        assert_eq!(client.load_at(&path).await.expect("loaded").text(), Some("there"));

        issued[0].write("crl.pem", &ca.revoke(&issued[1]));
        eventually("it is out", async || client.load_at(&path).await.is_err()).await;
        sleep(super::run::FILES_PAUSE).await;
        client.load_at(&path).await.expect_err("it does not come back");
    });
}

#[cfg(feature = "mdns")]
#[test]
fn hosts_on_one_network_find_each_other_by_mdns() {
    let test = "hosts_on_one_network_find_each_other_by_mdns";
    if !super::lan::tests::multicast_works(test) {
        return;
    }
    run(async {
        let secret = super::ClusterSecret::fresh();
        // Others may run this at the same time.
        let name = format!("c{}", &secret.reveal()[15..23]);
        let anywhere = "127.0.0.1:0".parse().expect("an address");
        let host = || {
            let identity = super::ClusterIdentity::from_secret(&secret, &name, None);
            let join = vec![super::Seed::Lan];
            let identity = identity.expect("an identity");
            start(ClusterConfig { join, ..ClusterConfig::new(identity, anywhere) })
        };
        let (one, other) = (host(), host());
        let client = client(&one).await;
        let path = format!("/{:016x}/x", other.host_id());
        eventually("the other one is reached", async || client.load_at(&path).await.is_ok()).await;
    });
}
