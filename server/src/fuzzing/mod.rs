//! What the fuzz targets of this crate run: real sessions, over streams in memory, against clients that
//! say anything.
//!
//! - [`fuzz_session`]: any bytes, into one session.
//! - [`fuzz_two_sessions`]: messages of the RPC protocol that could mean something, over two connections
//!   at a time whose clients may work together, and one of an honest client. In some the hostile clients
//!   have a part of the tree, narrowed, and the honest client has something there and beside it.
//! - [`fuzz_members`]: packets and messages of other hosts, into the rules of one.
//!
//! Time is tokio's own, stopped: it passes when there is nothing to do, so that time limits cost none.
//!
//! An input fails if it panics, in a call that contains it too; if a session does not end after its
//! client has; if the honest client is not answered; or if anything is left in the end of those that
//! have gone: a session (which every object, running call and RPC system holds), a node, a value, or a
//! capability that is kept for a client that has left. What is narrowed does no more, and tells no more,
//! than was granted, and nothing after that was taken back ([`guests`]).

mod guests;
mod honest;
mod hostile;
mod messages;
mod narrowed;
mod script;
#[cfg(test)]
mod tests;
mod world;

use std::cell::Cell;
use std::sync::Once;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, yield_now};
use tokio::time::sleep;

use honest::Honest;
use hostile::Hostile;
use script::{Bytes, Pace, Setup, Step, step};
use world::World;

/// How long everything may take to end after the clients have, in the time that the sessions know.
const END_MILLIS: usize = 60_000;
/// The most connections of hostile clients in one input.
const MAX_CONNECTIONS: usize = 8;
/// The most steps of one input, repeated ones included.
const MAX_STEPS: usize = 300;

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Runs `body` in a runtime whose time passes only when there is nothing to do.
///
/// # Panics
/// Something in it did, whether or not that was contained.
fn without_a_panic(body: impl Future<Output = ()>) {
    static COUNTS: Once = Once::new();
    COUNTS.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            before(info);
        }));
    });
    let before = PANICS.get();
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, body);
    assert_eq!(PANICS.get(), before, "a panic was contained");
}

/// Feeds `bytes` to a fresh session.
///
/// # Panics
/// See the module.
pub fn fuzz_session(bytes: &[u8]) {
    without_a_panic(async {
        let mut world = World::new(Setup::read(&mut Bytes::new(&[])));
        let mut client = world.open(0);
        let feed = async {
            // An error means that the session has ended before it read everything.
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
            let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        };
        feed.await;
        all_ends(&mut world, &mut []).await;
        leaves_nothing(&world).await;
    });
}

/// Has two clients do what `bytes` say, and an honest one beside them.
///
/// # Panics
/// See the module.
pub fn fuzz_two_sessions(bytes: &[u8]) {
    without_a_panic(async {
        let mut bytes = Bytes::new(bytes);
        let setup = Setup::read(&mut bytes);
        let mut world = World::new(setup);
        let mut honest = Honest::connect(world.open(0)).await;
        if setup.narrowed() {
            for (path, text) in [guests::OUTSIDE, guests::INSIDE, guests::HIDDEN] {
                honest.put(path, text).await;
            }
            honest.put_whole(guests::WHOLE, guests::ROOT).await;
            world.narrow(&mut bytes);
        }
        if setup.idle_limit() {
            world.limit_idling();
        }
        let mut clients = [0, 1].map(|who| connect(&mut world, setup, who));
        act(&mut bytes, setup, &mut world, &mut clients, &mut honest).await;
        world.check();
        if setup.ends_by_a_stop() {
            world.stop();
            all_ends(&mut world, &mut clients).await;
        } else {
            for client in &mut clients {
                if setup.ends_abruptly() { client.close() } else { client.leave().await }
            }
            others_end(&mut world, &mut clients).await;
            world.check();
            works(&world, &honest).await;
        }
        honest.leave().await;
        all_ends(&mut world, &mut []).await;
        leaves_nothing(&world).await;
    });
}

/// Feeds what `bytes` say to a host, as what others say who are in its cluster.
///
/// # Panics
/// Something in it did; or the host keeps more than it may, or says what others do not take.
#[cfg(feature = "cluster")]
pub fn fuzz_members(bytes: &[u8]) {
    crate::cluster::fuzz_members(bytes);
}

/// A new connection of one hostile client.
fn connect(world: &mut World, setup: Setup, who: usize) -> Hostile {
    let worker = if setup.one_worker() { 0 } else { who };
    Hostile::new(world.open_hostile(who, worker), world.secrets())
}

/// Does all steps that are in `bytes`.
async fn act(
    bytes: &mut Bytes<'_>,
    setup: Setup,
    world: &mut World,
    clients: &mut [Hostile; 2],
    honest: &mut Honest,
) {
    let mut last = None;
    let (mut connections, mut steps) = (clients.len(), 0);
    while !bytes.is_empty() && steps < MAX_STEPS {
        steps += 1;
        world.check();
        let (who, step, pace) = step(bytes);
        let client = &mut clients[who];
        match step {
            Step::Honest => honest.ask().await,
            Step::Wait => {
                sleep(Duration::from_millis(bytes.pick(&[10, 60, 250, 600, 6000, 31_000]))).await;
            }
            Step::Open if connections < MAX_CONNECTIONS => {
                connections += 1;
                *client = connect(world, setup, who);
            }
            Step::Open => {}
            Step::Revoke => {
                world.revoke(who, bytes.next() & 1 != 0);
                honest.narrow_again(bytes.next()).await;
            }
            Step::Again => {
                let times = bytes.next() % 64;
                let Some((step, said)) = &last else { continue };
                steps += usize::from(times);
                for _ in 0..times {
                    client.step(*step, &mut Bytes::clone(said));
                    client.pump();
                }
            }
            step => {
                last = Some((step, bytes.clone()));
                client.step(step, bytes);
            }
        }
        clients.iter_mut().for_each(Hostile::pump);
        match pace {
            Pace::Settle => world.settle().await,
            Pace::Rounds(rounds) => {
                for _ in 0..rounds {
                    yield_now().await;
                }
            }
        }
        clients.iter_mut().for_each(Hostile::pump);
    }
}

/// Waits until only the honest client's connection is open.
async fn others_end(world: &mut World, clients: &mut [Hostile]) {
    ends(world, clients, 1).await;
}

/// Waits until no connection is open.
async fn all_ends(world: &mut World, clients: &mut [Hostile]) {
    ends(world, clients, 0).await;
}

async fn ends(world: &mut World, clients: &mut [Hostile], left: usize) {
    for _ in 0..END_MILLIS {
        clients.iter_mut().for_each(Hostile::pump);
        world.settle().await;
        if world.has_ended(left) {
            return;
        }
    }
    panic!("a session did not end");
}

/// How often something is looked at that other threads of the process may delay.
const TRIES: usize = 20_000;

/// Waits until the honest client has stored and loaded.
async fn works(world: &World, honest: &Honest) {
    for _ in 0..TRIES {
        if honest.works().await {
            return;
        }
        reclaim(world).await;
    }
    panic!("no room for a value, with the others gone");
}

/// Waits until nothing is left of connections that have ended.
async fn leaves_nothing(world: &World) {
    none(world, World::unneeded).await;
    world.empty();
    none(world, World::remains).await;
}

/// Waits until there is nothing of `left`.
async fn none(world: &World, left: fn(&World) -> Vec<String>) {
    for _ in 0..TRIES {
        if left(world).is_empty() {
            return;
        }
        reclaim(world).await;
    }
    panic!("left behind: {:?}", left(world));
}

/// What was dropped is let go of once no thread of the process looks at it any more, and what only channels
/// kept that nobody can reach.
async fn reclaim(world: &World) {
    world.settle().await;
    killick::reclaim();
    world.collect();
    std::thread::yield_now();
}
