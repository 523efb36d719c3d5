//! Processes that have their part of the tree: the example of a pool, where a mailbox lives, and what is exported.

#![allow(dead_code, unreachable_pub, reason = "an example is a program of its own")]

mod support;

#[path = "../examples/pool.rs"]
mod pool;

use std::time::Duration;

use killick_client::{Client, Command, Error, IntoValue, Options, Process, Sender, Value};
use killick_schema::api::anchor_capnp::anchor::loader;
use killick_server::{Allowed, Config};
use rustix::process::{Pid, Signal, kill_process};
use support::{Harness, eventually, load, run, speaker};

/// Names to a process what it is to do: an ordinary run of its test does nothing.
const TASK: &str = "KILLICK_TEST_TASK";

/// Lets programs be started, this one as well, by the server's own.
fn allow_all(config: &mut Config) {
    config.allow_exec = vec![Allowed::ALL];
    config.launcher = Some(env!("CARGO_BIN_EXE_killick").into());
}

fn this() -> String {
    let this = std::env::current_exe().expect("this test");
    this.to_str().expect("text").to_owned()
}

/// This program as a process that runs `test`.
fn command(test: &str) -> Command {
    let mut command = Command::new(this());
    command.args(["--exact", test]).env(TASK, test);
    command
}

#[test]
fn a_pool_replaces_a_worker_that_was_killed_and_leaves_nothing() {
    let harness = Harness::with(allow_all);
    run(async {
        let outcome = pool::run(harness.unix(), &command("a_worker_of_the_pool")).await;
        let outcome = outcome.expect("an example that succeeds");
        let squares = (1..=pool::JOBS as u64).map(|number| (number, number * number));
        assert!(outcome.squares.into_iter().eq(squares));
        assert_eq!((outcome.lost.len(), outcome.started), (1, pool::WORKERS + 1));
        assert_eq!(outcome.codes, [0; pool::WORKERS]);
        assert_eq!(outcome.left, (0, 0));
    });
}

/// A process of the test above.
#[test]
fn a_worker_of_the_pool() {
    if std::env::var_os(TASK).is_some() {
        run(async { pool::work().await.expect("worked to the end") });
    }
}

async fn kill(process: &Process) {
    let pid = process.status().await.expect("known").pid;
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a number"), Signal::KILL).expect("sent");
}

/// "A mailbox lives on the same host as its process."
#[test]
fn a_mailbox_lives_on_the_host_of_its_process_and_dies_with_it() {
    let harness = Harness::with(allow_all);
    run(async {
        let client = Client::connect(harness.unix(), Options::default()).await.expect("connected");
        let place = client.walk("procs/1").await.expect("walked");
        let process = client.exec(&command("a_process_with_a_mailbox"), &place).await;
        let process = process.expect("started");
        place.store(&process, false).await.expect("stored");
        drop(place);

        // Whoever knows the host and the process finds the mailbox.
        let host = client.info().await.expect("told").id;
        let path = format!("/{host:016x}/procs/1/mailbox");
        let mailbox = client.wait_at(&path).await.expect("there").value.expect("a value");
        let host = client.host().await.expect("the host");
        let mailbox =
            Sender::adopt(&host, mailbox.capability().expect("an end")).with_timeout(None);
        mailbox.send("one").await.expect("sent");

        // Nobody receives this one: who sends waits until the process dies, and then no longer.
        let waits = tokio::task::spawn_local({
            let mailbox = mailbox.clone();
            async move { mailbox.send("two").await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waits.is_finished(), "the mailbox is full");
        kill(&process).await;
        let sent = waits.await.expect("no panic");
        assert!(matches!(sent, Err(Error::NoReceivers { .. })), "{sent:?}");
        let sent = mailbox.try_send("three").await;
        assert!(matches!(sent, Err(Error::NoReceivers { .. })), "{sent:?}");

        assert_eq!(process.wait().await.expect("ended"), 128 + 9);
        eventually("nothing of it", async || {
            client.lookup(&path).await.expect("looked up").is_none()
                && client.info().await.expect("told").nodes == 1
        })
        .await;
        assert_eq!(client.info().await.expect("told").processes, 0);
    });
}

/// The process of the test above: has room for one letter, and reads none.
#[test]
fn a_process_with_a_mailbox() {
    if std::env::var_os(TASK).is_none() {
        return;
    }
    run(async {
        let client = Client::from_env(Options::default(), None).await.expect("started by a server");
        let chan = client.new_chan(1).await.expect("made");
        let sender = chan.sender().into_value().map(Value::bound);
        client.store_at("mailbox", sender, false).await.expect("stored");
        let _recver = chan.recver();
        drop(chan);
        std::future::pending::<()>().await;
    });
}

#[test]
fn what_a_process_exports_is_waited_for_until_it_answers_or_ends() {
    let settle_timeout = Duration::from_millis(20);
    let harness = Harness::with(|config| {
        allow_all(config);
        config.settle_timeout = settle_timeout;
    });
    run(async {
        let client = Client::connect(harness.unix(), Options::default()).await.expect("connected");
        let place = client.walk("a").await.expect("walked");
        let slow = client.exec(&command("a_process_that_answers_late"), &place).await;
        let slow = slow.expect("started");
        let exported = loader::Client { client: slow.bootstrap().await.expect("in the end") };
        assert_eq!(load(&exported).await.expect("answered"), (Some("late".into()), 1));
        slow.kill().await.expect("killed");

        let bare = client.exec(&command("a_process_with_a_mailbox"), &place).await;
        let bare = bare.expect("started");
        let told = bare.bootstrap().await.map(drop).expect_err("it exports nothing");
        assert!(told.to_string().contains("exports nothing: "), "{told}");
        bare.kill().await.expect("killed");

        let mute = client.exec(Command::new("sleep").arg("600"), &place).await.expect("started");
        let asked = tokio::task::spawn_local({
            let mute = mute.clone();
            async move { mute.bootstrap().await.map(drop) }
        });
        tokio::time::sleep(3 * settle_timeout).await;
        assert!(!asked.is_finished(), "it has not answered");
        mute.kill().await.expect("killed");
        let told = asked.await.expect("no panic");
        assert!(matches!(told, Err(Error::Failed { .. })), "{told:?}");
        eventually("no connection of theirs", async || {
            client.info().await.expect("told").connections == 1
        })
        .await;
    });
}

/// The process of the test above: exports something, after a while.
#[test]
fn a_process_that_answers_late() {
    if std::env::var_os(TASK).is_none() {
        return;
    }
    std::thread::sleep(Duration::from_millis(400));
    run(async {
        let (speaker, _) = speaker("late");
        let client = Client::from_env(Options::default(), Some(speaker.client)).await;
        let _connected = client.expect("started by a server");
        std::future::pending::<()>().await;
    });
}
