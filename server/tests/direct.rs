//! Clients that reach other hosts over connections of their own, and through the contacted one where they
//! cannot. The contacted host is a stand-in that tells of hosts as each test wants it to; those others are
//! servers over TLS.

#[path = "support/contact.rs"]
mod contact;
mod support;

use std::path::PathBuf;
use std::rc::Rc;

use contact::{Contact, State, Told};
use killick_client::schema::api::anchor_capnp::anchor::loader;
use killick_client::{Client, Error, Member, Options, Value};
use killick_server::{Address, Authorized, Tls};
use support::pki::{Ca, For, Issued, VALID};
use support::{Harness, PATIENCE, Peer, eventually, lookup, run};

/// A stand-in, two servers that let alice in over TLS, and what she has.
struct Cluster {
    contact: Rc<Contact>,
    servers: [Harness; 2],
    /// Their full ids.
    ids: [String; 2],
    alice: Issued,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// One in which the servers give alice what is at `root`.
    async fn start(root: &str) -> Self {
        let (folder, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
        let host = ca.issue(folder.path(), "host", For::Host("127.0.0.1"), VALID);
        let alice = ca.issue(folder.path(), "alice", For::Client, VALID);
        let server = || {
            Harness::with(|config| {
                config.listen[1] = Address::Tls("127.0.0.1:0".into());
                config.tls = Some(Tls::new(&host.identity).expect("usable"));
                let line = format!("{} {root}", alice.fingerprint);
                config.authorized = Authorized::parse(&line, &config.limits).expect("a line");
            })
        };
        let (servers, contact) = ([server(), server()], Rc::new(Contact::default()));
        let mut ids = [const { String::new() }; 2];
        contact.hosts.borrow_mut().push(Told::up(&"0".repeat(32)));
        for (server, id) in servers.iter().zip(&mut ids) {
            let peer = Peer::connect(server.unix()).await;
            *id = peer.info(|info| info.get_full_id().unwrap().to_string().unwrap()).await;
            let root = peer.root().await;
            contact.behind.borrow_mut().insert(id[..16].into(), root);
            let addresses = vec![server.server.addresses()[1].to_string()];
            contact.hosts.borrow_mut().push(Told { addresses, ..Told::up(id) });
        }
        contact.listen(&folder.path().join("contact.sock"));
        Cluster { contact, servers, ids, alice, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("contact.sock")
    }

    async fn client(&self, direct: bool) -> Client {
        let options = Options {
            identity: Some(self.alice.identity.clone()),
            direct,
            timeout: Some(PATIENCE),
            connect_timeout: PATIENCE,
            ..Options::default()
        };
        Client::connect(&Address::Unix(self.socket()), options).await.expect("connected")
    }

    fn path(&self, server: usize, path: &str) -> String {
        format!("/{}/{path}", &self.ids[server][..16])
    }

    /// Whether something is at `path` of a server.
    async fn has(&self, server: usize, path: &str) -> bool {
        let peer = Peer::connect(self.servers[server].unix()).await;
        lookup(&peer.anchor(), path).await.expect("an answer").is_some()
    }

    /// How often alice is connected to a server over TLS.
    async fn connections(&self, server: usize) -> usize {
        let peer = Peer::connect(self.servers[server].unix()).await;
        let response = peer.host.clients_request().send().promise.await.expect("clients");
        let clients = response.get().unwrap().get_clients().unwrap();
        let peers = clients.iter().map(|client| client.get_peer().unwrap().to_string().unwrap());
        let key = self.alice.fingerprint.to_string();
        peers.filter(|peer| peer.contains(&key[..16])).count()
    }

    /// How many of some operations go through the contacted host.
    async fn passed(&self, operations: impl Future<Output = ()>) -> usize {
        let before = self.contact.passed.get();
        operations.await;
        self.contact.passed.get() - before
    }
}

/// Does `operation` until it goes past the contacted host: a server may be slow to let in a client.
async fn until_direct(cluster: &Cluster, mut operation: impl AsyncFnMut()) {
    eventually("a connection of its own", async || cluster.passed(operation()).await == 0).await;
}

#[test]
fn a_path_to_another_host_goes_there_by_a_connection_of_its_own() {
    run(async {
        let cluster = Cluster::start("/").await;
        let client = cluster.client(true).await;
        for server in [0, 1] {
            let path = cluster.path(server, "a");
            until_direct(&cluster, async || {
                client.store_at(&path, "here", true).await.expect("stored");
            })
            .await;
            assert!(cluster.has(server, "a").await && cluster.connections(server).await == 1);
            // By more digits of its id too, and over the same connection.
            let full = format!("/{}/a", cluster.ids[server]);
            let again = cluster.passed(async {
                let loaded = client.batch([&path, &full].map(|path| client.load_at(path)));
                let loaded = loaded.collect().await;
                assert!(loaded.iter().all(|it| it.as_ref().unwrap().text() == Some("here")));
                assert_eq!(client.names_at(&path).await.unwrap(), [""; 0]);
                assert!(client.walk(format!("{path}/b")).await.is_ok());
            });
            assert_eq!((again.await, cluster.connections(server).await), (0, 1));
        }
        drop(client);
        eventually("their end", async || cluster.connections(0).await == 0).await;
    });
}

#[test]
fn a_client_that_does_not_ask_for_it_goes_through_the_contacted_host() {
    run(async {
        let cluster = Cluster::start("/").await;
        let client = cluster.client(false).await;
        let passed = cluster.passed(async {
            client.store_at(cluster.path(0, "a"), "here", true).await.expect("stored");
        });
        assert_eq!((passed.await, cluster.connections(0).await), (1, 0));
    });
}

#[test]
fn who_is_another_than_was_meant_gets_nothing_and_the_contacted_host_is_asked() {
    run(async {
        let cluster = Cluster::start("/").await;
        let other = cluster.contact.hosts.borrow()[2].addresses.clone();
        cluster.contact.hosts.borrow_mut()[1].addresses = other;
        let client = cluster.client(true).await;
        let passed = cluster.passed(async {
            client.store_at(cluster.path(0, "a"), "for one", true).await.expect("stored");
        });
        assert_eq!(passed.await, 1);
        assert!(cluster.has(0, "a").await && !cluster.has(1, "a").await);
    });
}

#[test]
fn a_key_that_gets_a_part_at_the_other_host_goes_through_the_contacted_one() {
    run(async {
        let cluster = Cluster::start("/apps/alice").await;
        let client = cluster.client(true).await;
        let passed = cluster.passed(async {
            client.store_at(cluster.path(0, "a"), "here", true).await.expect("stored");
        });
        assert_eq!(passed.await, 1);
        assert!(cluster.has(0, "a").await && !cluster.has(0, "apps/alice/a").await);
        eventually("no connection", async || cluster.connections(0).await == 0).await;
    });
}

#[test]
fn a_host_that_is_not_reached_is_left_alone_for_a_while() {
    run(async {
        let cluster = Cluster::start("/").await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = format!("tls:{}", listener.local_addr().expect("an address"));
        cluster.contact.hosts.borrow_mut()[1].addresses = vec![address];
        let tried = Rc::new(std::cell::Cell::new(0));
        let count = tried.clone();
        tokio::task::spawn_local(async move {
            while listener.accept().await.is_ok() {
                count.set(count.get() + 1);
            }
        });
        let client = cluster.client(true).await;
        let path = cluster.path(0, "a");
        let started = tokio::time::Instant::now();
        let passed = cluster.passed(async {
            for _ in 0..100 {
                client.store_at(&path, "here", true).await.expect("stored");
            }
        });
        assert_eq!(passed.await, 100);
        // Half a second at least before the second.
        let most = 1 + started.elapsed().as_millis() / 500;
        assert!(tried.get() >= 1 && tried.get() as u128 <= most, "{} of {most}", tried.get());
    });
}

#[test]
fn a_value_with_what_came_from_the_contacted_host_goes_through_that() {
    struct Object;
    impl loader::Server for Object {}
    run(async {
        let cluster = Cluster::start("/").await;
        let client = cluster.client(true).await;
        let path = cluster.path(0, "a");
        until_direct(&cluster, async || {
            let own: loader::Client = capnp_rpc::new_client(Object);
            let own = Value::from_capability(own);
            client.store_at(&path, own, true).await.expect("stored");
        })
        .await;
        let near = client.root().await.expect("there");
        let passed = cluster.passed(async {
            client.store_at(&path, &near, true).await.expect("stored");
        });
        assert_eq!(passed.await, 1);
        let far = client.walk(&path).await.expect("walked");
        let passed = cluster.passed(async {
            client.store_at(&path, &far, true).await.expect("stored");
        });
        assert_eq!(passed.await, 0);
    });
}

#[test]
fn a_connection_to_a_host_that_was_restarted_ends_and_another_is_made() {
    run(async {
        let cluster = Cluster::start("/").await;
        let client = cluster.client(true).await;
        let path = cluster.path(0, "a");
        let mut held = None;
        until_direct(&cluster, async || {
            held = Some(client.walk(&path).await.expect("walked"));
        })
        .await;
        let held = held.expect("walked");
        cluster.contact.hosts.borrow_mut()[1].generation = u64::MAX;
        held.disconnected().await;
        let error = held.load().await.expect_err("it is gone");
        assert!(error.to_string().contains("the host was restarted"), "{error}");
        until_direct(&cluster, async || drop(client.walk(&path).await.expect("walked"))).await;
    });
}

#[test]
fn a_host_that_is_said_to_have_gone_keeps_the_connection_that_works() {
    run(async {
        let cluster = Cluster::start("/").await;
        let client = cluster.client(true).await;
        let path = cluster.path(0, "a");
        until_direct(&cluster, async || {
            client.store_at(&path, "here", true).await.expect("stored");
        })
        .await;
        let held = client.walk(&path).await.expect("walked");
        cluster.contact.hosts.borrow_mut()[1].state = State::Failed;
        eventually("the client knows", async || {
            matches!(client.load_at(&path).await, Err(Error::Unreachable { .. }))
        })
        .await;
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        assert_eq!(held.load().await.expect("it works").text(), Some("here"));
    });
}

#[test]
fn of_a_host_that_has_gone_it_is_certain_or_not_whether_it_did_something() {
    run(async {
        let cluster = Cluster::start("/").await;
        let client = cluster.client(false).await;
        let path = cluster.path(0, "a");
        cluster.contact.hosts.borrow_mut()[1].state = State::Failed;
        let error = client.store_at(&path, "here", true).await.expect_err("it has gone");
        assert!(matches!(error, Error::Unreachable { .. }) && error.is_transient(), "{error:?}");
        cluster.contact.hosts.borrow_mut()[1].state = State::Up;
        cluster.contact.is_cut.set(true);
        let error = client.store_at(&path, "here", true).await.expect_err("cut");
        assert!(error.is_unknown_outcome(), "{error:?}");
        let error = client.load_at(&path).await.expect_err("cut");
        assert!(matches!(error, Error::HostGone { .. }), "{error:?}");
        let hosts: Vec<Member> = client.hosts().await.expect("hosts");
        assert!(hosts[0].is_self && hosts.len() == 3);
    });
}
