//! Two hosts with one key, and what looks like that.

use std::time::Duration;

use foca::{Header, Member as Update, Message as Said};
use tokio_util::bytes::Bytes;

use super::super::codec::Packet;
use super::super::roster::Change;
use super::super::{Identity, Params};
use super::world::{World, at};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_second_host_with_one_key_stops_before_anybody_has_heard_of_it() {
    for seed in 0..20 {
        let mut world = World::settled(4, Params::default(), seed);
        for _ in 0..5 {
            let twin = world.twin(2);
            world.join(twin, seed as usize % 2);
            world.run(SECOND);
            assert!(world.stopped.contains(&twin), "seed {seed}");
        }
        world.run(10 * SECOND);
        assert_eq!(world.seen.len(), 0, "seed {seed}: nothing is seen: {:?}", world.seen.first());
        assert!(world.is_whole() && world.is_told(), "seed {seed}");
    }
}

#[test]
fn of_two_with_one_key_on_both_sides_of_a_cut_the_later_one_is_left_when_it_heals() {
    for seed in 0..20 {
        let mut world = World::settled(6, Params::default(), seed);
        world.side = vec![0, 0, 0, 1, 1, 1];
        world.run(10 * SECOND);
        let twin = world.twin(2);
        world.side[twin] = 1;
        world.join(twin, 4);
        world.run(10 * SECOND);
        assert!(world.stopped.is_empty(), "seed {seed}: each lives on its side");
        world.side.fill(0);
        world.seen.clear();
        let took = world.run_until(10 * SECOND, World::is_whole);
        took.unwrap_or_else(|| panic!("seed {seed}: all see all"));
        world.run(20 * SECOND);
        assert_eq!(world.stopped, [2], "seed {seed}");
        assert!(world.is_whole() && world.is_told(), "seed {seed}");
        for by in [0, 1, 3, 4, 5] {
            let changes = |change| {
                let seen = |seen: &&super::world::Seen| (seen.by, seen.of) == (by, 2);
                world.seen.iter().filter(seen).filter(|seen| seen.change == change).count()
            };
            let restarts = changes(Change::Restarted);
            assert!(restarts <= 1, "seed {seed}: {by} sees {restarts} restarts");
            assert_eq!(changes(Change::Left), 0, "seed {seed}: nobody is told that it goes");
        }
    }
}

#[test]
fn a_host_that_is_started_again_is_not_taken_for_another_with_its_key() {
    for (seed, elsewhere) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = World::settled(5, Params::default(), seed);
        world.run(Duration::from_millis(seed * 41));
        world.kill(2);
        world.run(Duration::from_millis(1 + seed * 3));
        let again = if elsewhere { world.twin(2) } else { 2 };
        world.join(again, 0);
        // At another address it finds out first that nobody is at the former one.
        let limit = if elsewhere { 6 * SECOND } else { SECOND };
        let took = world.run_until(limit, World::is_whole);
        took.unwrap_or_else(|| panic!("seed {seed}, elsewhere: {elsewhere}: it is back"));
        world.run(10 * SECOND);
        assert!(world.is_whole() && world.is_told() && world.stopped.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_host_that_is_said_to_live_elsewhere_goes_on_when_it_is_not_so() {
    for place in [5, 77] {
        let mut world = World::settled(6, Params::default(), 2);
        let me = |world: &World, host: usize| *world.hosts[host].core.as_ref().expect("runs").me();
        let victim = me(&world, 4);
        let later = Identity { at: at(place), generation: victim.generation + 5, ..victim };
        for to in [0, 1, 2, 3, 4] {
            let (src, dst) = (me(&world, 5), me(&world, to));
            let header = Header { src, src_incarnation: 0, dst, message: Said::Gossip };
            let packet = Packet { header, updates: vec![Update::alive(later)] };
            world.send(5, to, Bytes::from(packet.write()));
        }
        world.run(Duration::from_millis(5));
        assert_eq!(world.members(0)[4].at, at(place), "it is believed at first");
        let right = |world: &World| (0..6).all(|by| world.members(by)[4].at == at(4));
        world.run_until(10 * SECOND, right).expect("it is where it is");
        world.run(5 * SECOND);
        assert!(world.stopped.is_empty() && world.is_whole());
    }
}

#[test]
fn of_two_with_one_key_that_give_one_address_the_one_that_is_not_there_stops() {
    let mut world = World::settled(4, Params::default(), 3);
    let twin = world.twin(2);
    let generation = world.generation(2) + 5_000;
    world.start_at(twin, generation, at(2));
    world.seek(twin, 0);
    world.run(10 * SECOND);
    assert_eq!(world.stopped, [twin]);
    assert!(world.is_whole() && world.is_told());
}

#[test]
fn of_two_with_one_key_that_know_nobody_else_the_one_that_has_just_begun_stops() {
    let mut world = World::new(1, Params::default(), 1);
    world.start(0);
    world.run(60 * SECOND);
    let meet = |world: &mut World, host: usize, other: usize| {
        world.with(host, |core, now| core.has_met_itself(now, at(other)));
        world.run(SECOND);
    };
    let young = world.twin(0);
    world.start(young);
    meet(&mut world, 0, young);
    assert!(world.stopped.is_empty(), "the other one is to see it");
    meet(&mut world, young, 0);
    assert_eq!(world.stopped, [young]);
    // A way between two that have been there for long is mended: one of them stops, if neither is young.
    let old = world.twin(0);
    world.start(old);
    world.run(60 * SECOND);
    meet(&mut world, old, 0);
    assert_eq!(world.stopped, [young]);
    meet(&mut world, old, 0);
    assert_eq!(world.stopped, [young, old]);
    meet(&mut world, 0, 0);
    meet(&mut world, 0, 0);
    assert_eq!(world.running().collect::<Vec<_>>(), [0], "it is not another to itself");
}
