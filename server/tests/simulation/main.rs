//! Simulated hosts and a simulated network around the server's real sessions: one after another, in one
//! thread, in a time that does not pass by itself.
//!
//! A seed says how many clients there are and what each of them does, how the network is, and what goes
//! wrong when (`plan`). The server's host runs the sessions of two workers over streams of the network
//! (`server`), the others are clients by `capnp-rpc` (`client`, `link`). One of these, the keeper, holds
//! some registers all the time and clears the tree at the end. Meanwhile and afterwards (`world`, `check`):
//!
//! - an acknowledged store is seen by every later load, and nothing else is: each register whose node is
//!   held has a history in which every revision has one value and one cause, and never goes back;
//! - a watcher is told of what is there, and of nothing that is not: the last that it knows is no older than
//!   what is loaded over the same connection;
//! - no value of a connection that has ended is seen, nor lies in the tree, and no node that it held alone;
//! - a capability works as long as its client is connected, and one that does not is no value any more;
//! - what is received from a channel was sent, once, and in its order; a send is answered when a receiver has the
//!   value or the buffer has room for it; and nothing is lost but with a call that was never answered;
//! - a narrowed anchor does what was granted, for whoever has found it, and nothing else, and nothing from the
//!   answer to `revoke` on; a write that was refused is never seen;
//! - a call over a sound link is answered soon, whoever else is cut off, slow or dead;
//! - a connection ends soon after its client has gone, and only for a reason;
//! - a server that is told to stop lets go of every connection, one that starts again has an empty tree;
//! - at the end, with everybody connected and again with nobody, there is nothing in the tree, its counts of
//!   bytes and of channels, the sessions' tables and the bridge's.
//!
//! What it cannot see: threads, as everything runs on one; sockets, and TCP that sends again what was lost:
//! here a connection that has lost something stays silent until a time limit ends it.
//!
//! # It can fail
//! Changes to the server that it finds, most of them with the first seeds: the cells of a connection that
//! ends are not emptied · a note to another worker is lost, or that of the end of a value is never sent ·
//! a write is acknowledged before it is done, or without being done · the expected revision is not compared ·
//! `bound` is ignored · a dropped claim is not released at its home · calls to a client that has gone, or under
//! way when it goes, are not answered · the place of a connection, or the room of a value, is not given back ·
//! no limit for silent clients · connections are not told to stop · a write goes on at the wrong byte after a
//! part · whoever waits for the socket, to write or to read, is not woken · cells are emptied only when the last
//! that was written to a client that has gone is given up · a value is received twice, or before one that was sent
//! earlier · a buffer takes more than it holds · a send that was given up is not withdrawn · of several values that
//! are received at once one is lost · a receive that was given up takes a value nevertheless · a channel is not counted
//! out · rights are not compared · `revoke` answers before it has revoked, does nothing, leaves handles alive, or does
//! not say that it was done.
//!
//! # Running it
//! `KILLICK_SEEDS=N` tries as many seeds, `KILLICK_SEED=S` one, and `KILLICK_TRACE=FILE` writes down all that
//! happened: what clients did and saw, and the length and hash of all that the server read and wrote.

mod channels;
mod check;
mod client;
mod dice;
mod grants;
mod link;
mod plan;
mod record;
mod server;
mod streams;
mod world;

use std::sync::{Mutex, PoisonError};

use world::Ran;

/// Reclamation is one for the whole process: runs beside each other would free for each other.
static ALONE: Mutex<()> = Mutex::new(());

/// One run, on a thread of its own.
fn run(seed: u64) -> Ran {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::spawn(move || world::run(seed)).join().unwrap_or_else(|_| Ran::panicked())
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// How many seeds are tried.
const SEEDS: u64 = 24;

#[test]
fn what_the_server_promises_holds_whatever_fails() {
    let seeds = match number("KILLICK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KILLICK_SEEDS").unwrap_or(SEEDS),
    };
    let (mut failed, mut traces) = (Vec::new(), String::new());
    let (mut operations, mut connections) = (0, 0);
    for seed in seeds.clone() {
        let ran = run(seed);
        operations += ran.operations;
        connections += ran.connections;
        if std::env::var_os("KILLICK_TRACE").is_some() {
            traces.push_str(&ran.trace);
        }
        if !ran.wrong.is_empty() {
            let replay = "cargo test -p killick-server --test simulation";
            println!("seed {seed}: KILLICK_SEED={seed} KILLICK_TRACE=trace.txt {replay}");
            ran.wrong.iter().take(12).for_each(|wrong| println!("    {wrong}"));
            failed.push(seed);
        }
    }
    if let Some(path) = std::env::var_os("KILLICK_TRACE") {
        std::fs::write(path, traces).expect("a file for the traces");
    }
    let count = seeds.count();
    println!("{count} seeds, {connections} connections, {operations} operations on registers");
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    // The clients get somewhere, whatever fails.
    assert!(operations > 50 * count, "{operations} operations are few");
}

#[test]
fn one_seed_run_twice_is_the_same_to_the_last_byte() {
    let seeds = match (number("KILLICK_SEED"), number("KILLICK_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(seeds)) => 0..seeds / 4,
        (None, None) => 3..6,
    };
    for seed in seeds {
        let (one, other) = (run(seed).trace, run(seed).trace);
        if one != other {
            let lines = || one.lines().zip(other.lines());
            let differ = lines().position(|(one, other)| one != other).unwrap_or_default();
            for (one, other) in lines().skip(differ.saturating_sub(5)).take(12) {
                println!("{one}\n{other}\n");
            }
            panic!("seed {seed}: the traces differ from line {differ} on");
        }
    }
}
