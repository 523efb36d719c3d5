//! What is promised of the cluster as a whole, and how much it costs.

use std::time::{Duration, Instant};

use foca::{Header, Member as Update, Message as Said};
use tokio_util::bytes::Bytes;

use super::super::codec::Packet;
use super::super::roster::Change;
use super::super::{Params, State};
use super::world::{World, id, identity};

const SECOND: Duration = Duration::from_secs(1);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Kills one of so many hosts: when the others saw it, and nothing else.
fn kill_one(hosts: usize, seed: u64) -> Vec<Duration> {
    let mut world = World::settled(hosts, Params::default(), seed);
    world.run(Duration::from_millis(seed * 137 % 2_000));
    let killed = seed as usize % hosts;
    world.kill(killed);
    let at = world.now;
    world.run(10 * SECOND);
    let seen = world.when(killed, Change::Failed, at);
    assert_eq!(seen.len(), hosts - 1, "seed {seed}: all the others see it");
    assert_eq!(world.failures(), hosts - 1, "seed {seed}: nobody else is taken for dead");
    seen
}

#[track_caller]
fn within(limit: f64, seen: &[Duration], what: impl std::fmt::Display) {
    let last = seen.iter().max().expect("somebody has seen it");
    assert!(*last <= seconds(limit), "{what}: the last saw it after {last:?}, not {limit} s");
}

#[test]
fn a_killed_host_is_found_within_4_s_among_3() {
    for seed in 0..100 {
        within(4.0, &kill_one(3, seed), format_args!("seed {seed}"));
    }
}

#[test]
fn a_killed_host_is_found_within_5_s_among_60() {
    for seed in 0..4 {
        within(5.0, &kill_one(60, seed), format_args!("seed {seed}"));
    }
}

#[test]
fn a_killed_host_is_found_within_7_s_among_300() {
    within(7.0, &kill_one(300, 1), "300");
}

#[test]
#[ignore = "takes a minute: `CONTRIBUTING.md` has the command"]
fn a_killed_host_is_found_within_8_s_among_1000() {
    within(8.0, &kill_one(1_000, 1), "1,000");
}

#[test]
fn traffic_of_a_host_does_not_grow_with_the_number_of_hosts() {
    for hosts in [3, 60, 300] {
        let (_, bytes) = traffic(hosts, 20 * SECOND);
        assert!(bytes <= 1024.0, "{hosts} hosts: {bytes} bytes/s each");
    }
}

#[test]
#[ignore = "takes a minute: `CONTRIBUTING.md` has the command"]
fn traffic_of_a_host_is_the_same_among_1000_and_3000() {
    for hosts in [1_000, 3_000] {
        let (_, bytes) = traffic(hosts, 10 * SECOND);
        assert!(bytes <= 1024.0, "{hosts} hosts: {bytes} bytes/s each");
    }
}

/// Packets and bytes a second of each host, when nothing happens; not of comparing all that is known.
fn traffic(hosts: usize, time: Duration) -> (f64, f64) {
    let mut world = World::settled(hosts, Params::default(), 7);
    let (packets, bytes) = world.sent();
    world.run(time);
    assert_eq!(world.failures(), 0, "nobody is taken for dead who is not");
    let (packets, bytes) = (world.sent().0 - packets, world.sent().1 - bytes);
    let each = hosts as f64 * time.as_secs_f64();
    (packets as f64 / each, bytes as f64 / each)
}

#[test]
fn nobody_is_taken_for_dead_in_ten_minutes_without_loss() {
    let mut world = World::settled(12, Params::default(), 3);
    world.run(600 * SECOND);
    assert_eq!(world.seen.len(), 0, "nothing is seen: {:?}", world.seen.first());
}

#[test]
fn one_that_joins_is_seen_by_all_three_within_1_s() {
    for seed in 0..50 {
        let mut world = World::new(3, Params::default(), seed);
        world.start(0);
        world.join(1, 0);
        world.run(SECOND);
        world.join(2, 0);
        let took = world.run_until(2 * SECOND, World::is_whole).expect("all see all");
        assert!(took <= SECOND, "seed {seed}: {took:?}");
        let took = world.run_until(2 * SECOND, World::is_told).expect("all are told");
        assert!(took <= SECOND, "seed {seed}: {took:?}");
    }
}

/// So many hosts join within a time, at one seed: how long after the last until all know all, and have all
/// records.
fn storm(hosts: usize, time: Duration, loss: f64) -> (Duration, Duration) {
    let mut world = World::new(hosts, Params::default(), 11);
    world.loss = loss;
    world.start(0);
    for host in 1..hosts {
        world.join(host, 0);
        world.run(time / hosts as u32);
    }
    let limit = 120 * SECOND;
    let whole = world.run_until(limit, World::is_whole).expect("all come to know all");
    let told = world.run_until(limit, World::is_told).expect("all come to have all records");
    (whole, whole + told)
}

#[test]
fn all_know_all_soon_after_60_have_joined_at_once() {
    let (whole, told) = storm(60, SECOND, 0.0);
    assert!(whole <= 5 * SECOND, "known after {whole:?}");
    assert!(told <= 5 * SECOND, "told after {told:?}");
    let (whole, told) = storm(60, SECOND, 0.05);
    assert!(whole.max(told) <= 60 * SECOND, "with loss: {whole:?}, {told:?}");
}

/// Cuts some of so many hosts off, for long enough that both sides see it: how long after it heals until all
/// see all. They go on doing so.
fn heal(hosts: usize, cut: usize, seed: u64) -> Duration {
    let mut world = World::settled(hosts, Params::default(), seed);
    (0..cut).for_each(|host| world.side[host] = 1);
    let apart = |world: &World| {
        world.running().all(|by| {
            let up = world.members(by).into_iter().filter(|member| member.is_up()).count();
            up == if by < cut { cut } else { hosts - cut }
        })
    };
    while !apart(&world) {
        world.run(SECOND);
        assert!(world.now < 300 * SECOND, "both sides see it");
    }
    world.run(seconds(20.0 + seed as f64 * 0.37));
    world.side.fill(0);
    world.seen.clear();
    let healed = world.run_until(60 * SECOND, World::is_whole).expect("it heals");
    world.run(10 * SECOND);
    let failed = world.seen.iter().find(|seen| seen.change == Change::Failed);
    assert!(
        failed.is_none(),
        "{hosts} hosts, {cut} cut off, seed {seed}: nobody fails: {failed:?}"
    );
    let renewed = |host: &usize| world.hosts[*host].core.as_ref().expect("runs").me().renewal > 0;
    let renewed = world.running().filter(renewed).count();
    assert!(
        cut > 1 || renewed <= 1,
        "of one that was cut off, nobody else must come back: {renewed}"
    );
    assert!(world.is_whole() && world.is_told());
    healed
}

#[test]
fn what_was_cut_apart_is_whole_within_5_s_after_it_heals() {
    for (hosts, cut) in [(2, 1), (3, 1), (6, 3), (6, 1), (60, 30), (60, 1)] {
        for seed in 0..(120 / hosts as u64).min(20) {
            let healed = heal(hosts, cut, seed);
            let what = format!("{hosts} hosts, {cut} cut off, seed {seed}");
            assert!(healed <= 5 * SECOND, "{what}: whole after {healed:?}");
        }
    }
}

#[test]
fn a_restart_is_seen_as_one_however_quick_it_is() {
    for (seed, pause) in [(1, 0.0), (2, 0.05), (3, 1.0), (4, 3.0), (5, 20.0)] {
        let mut world = World::settled(5, Params::default(), seed);
        world.kill(2);
        world.run(seconds(pause) + Duration::from_millis(2));
        let at = world.now;
        world.join(2, 0);
        let took = world.run_until(10 * SECOND, World::is_whole).expect("it is back");
        assert!(took <= 2 * SECOND, "{pause} s away: {took:?}");
        let restarted = world.when(2, Change::Restarted, at);
        assert_eq!(restarted.len(), 4, "{pause} s away: seen as a restart");
        world.run(5 * SECOND);
        assert!(world.is_whole() && world.is_told(), "{pause} s away");
    }
}

#[test]
fn a_host_whose_clock_was_put_back_is_taken_for_restarted_all_the_same() {
    for away in [0.1, 10.0, 1_200.0] {
        let mut world = World::settled(4, Params::default(), 5);
        let before = world.generation(3);
        world.kill(3);
        world.run(seconds(away));
        let at = world.now;
        world.hosts[3].off = -3_600_000 * 24;
        world.join(3, 1);
        let took = world.run_until(20 * SECOND, World::is_whole);
        let took = took.unwrap_or_else(|| panic!("{away} s away: it is back"));
        assert!(took <= 2 * SECOND, "{away} s away: {took:?}");
        assert!(world.generation(3) > before, "{away} s away: in a later life");
        assert_eq!(world.when(3, Change::Restarted, at).len(), 3, "{away} s away");
    }
}

#[test]
fn clocks_that_jump_while_hosts_run_change_nothing() {
    let mut world = World::settled(6, Params::default(), 9);
    for (host, hours) in [(0, 30_i64), (1, -30), (2, 1), (3, -1)] {
        world.hosts[host].off = hours * 3_600_000;
        world.run(5 * SECOND);
    }
    world.run(60 * SECOND);
    assert_eq!(world.seen.len(), 0, "nothing is seen: {:?}", world.seen.first());
    // One that is started after that is not from the future where the clock was put back.
    world.kill(5);
    world.join(5, 1);
    world.run_until(2 * SECOND, World::is_whole).expect("it is back");
    for by in 0..6 {
        assert_eq!(world.with(by, |core, _| core.counts()).from_the_future, 0, "{by}");
    }
}

#[test]
fn a_host_whose_clock_is_far_off_is_taken_at_its_own_word_and_nobody_else_is() {
    for off in [11 * 60_000, 86_400_000, -86_400_000] {
        let mut world = World::settled(3, Params::default(), 2);
        world.kill(2);
        world.run(10 * SECOND);
        world.hosts[2].off = off;
        world.join(2, 0);
        let took = world.run_until(20 * SECOND, World::is_whole).expect("it is back");
        assert!(took <= 5 * SECOND, "{off} ms off: {took:?}");
    }
    let mut world = World::settled(4, Params::default(), 2);
    let victim = *world.hosts[0].core.as_ref().expect("runs").me();
    let generation = victim.generation + 86_400_000;
    tell_all_but(&mut world, 0, 3, Update::alive(super::super::Identity { generation, ..victim }));
    world.run(SECOND);
    assert_eq!(world.seen.len(), 0, "nobody believes it: {:?}", world.seen.first());
    assert!(world.with(1, |core, _| core.counts()).from_the_future > 0);
}

#[test]
fn a_host_that_stood_still_comes_back_and_takes_nobody_for_dead() {
    for (seed, pause) in [(1, 0.5), (2, 1.5), (3, 2.5), (4, 4.0), (5, 30.0)] {
        let mut world = World::settled(8, Params::default(), seed);
        world.freeze(3);
        world.run(seconds(pause));
        world.thaw(3);
        let at = world.now;
        let took = world.run_until(10 * SECOND, World::is_whole).expect("it is back");
        assert!(took <= 3 * SECOND, "{pause} s: whole after {took:?}");
        world.run(10 * SECOND);
        let wrong = world.seen.iter().filter(|seen| seen.change == Change::Failed && seen.of != 3);
        assert_eq!(wrong.count(), 0, "{pause} s: it takes nobody for dead");
        assert_eq!(world.when(3, Change::Restarted, at).len(), 0, "it is in the same life");
    }
}

#[test]
fn what_a_host_suspects_when_it_stops_it_does_not_take_for_dead_on_waking() {
    for seed in 0..5 {
        let mut world = World::settled(3, Params::default(), seed);
        // It alone hears nothing of 1 for a moment.
        world.side[1] = 1;
        let suspects = |world: &World| world.state(0, 1) == Some(State::Suspect);
        world.run_until(3 * SECOND, suspects).expect("it comes to suspect");
        world.side[1] = 0;
        world.freeze(0);
        world.run(Duration::from_millis(2_500));
        world.thaw(0);
        world.run(5 * SECOND);
        let wrong = world.seen.iter().find(|seen| seen.by == 0 && seen.change == Change::Failed);
        assert!(wrong.is_none(), "seed {seed}: {wrong:?}");
    }
}

#[test]
fn one_that_has_contradicted_goes_by_the_same_name() {
    for seed in 0..5 {
        let mut world = World::settled(3, Params::default(), seed);
        world.side[1] = 1;
        let suspect = |world: &World| {
            let all = (0..3).flat_map(|by| world.members(by));
            all.filter(|member| member.state == State::Suspect).count() > 0
        };
        world.run_until(5 * SECOND, suspect).expect("somebody comes to be suspected");
        world.side[1] = 0;
        world.run(10 * SECOND);
        assert!(world.is_whole() && world.failures() == 0, "seed {seed}");
        let renewals: u32 = (0..3).map(|of| world.with(of, |core, _| core.me().renewal)).sum();
        assert_eq!(renewals, 0, "seed {seed}");
    }
}

#[test]
fn one_that_leaves_is_seen_to_leave_at_once_and_not_to_fail() {
    for hosts in [2, 3, 40] {
        let mut world = World::settled(hosts, Params::default(), 4);
        let at = world.now;
        world.with(1, |core, now| core.leave(now));
        for _ in 0..4 {
            world.run(Duration::from_millis(50));
            world.with(1, |core, _| core.leave_again());
        }
        world.run(5 * SECOND);
        let left = world.when(1, Change::Left, at);
        assert_eq!(left.len(), hosts - 1, "{hosts} hosts");
        within(2.0, &left, format_args!("{hosts} hosts"));
        world.run(30 * SECOND);
        assert_eq!(world.failures(), 0, "{hosts} hosts");
        // And it may come again.
        world.join(1, 0);
        world.run_until(5 * SECOND, World::is_whole).expect("it is back");
    }
}

#[test]
fn a_changed_record_comes_to_all_without_a_restart() {
    let mut world = World::settled(10, Params::default(), 8);
    let told = super::super::Record { hostname: "another".into(), ..Default::default() };
    world.with(4, |core, now| core.set_record(now, told.clone()));
    let all_told = |world: &World| {
        world.running().all(|by| {
            let of = world.members(by).into_iter().find(|member| member.id == id(4));
            of.is_some_and(|of| of.record.is_some_and(|record| *record == told))
        })
    };
    let took = world.run_until(10 * SECOND, all_told).expect("it comes to all");
    assert!(took <= 2 * SECOND, "after {took:?}");
    world.run(30 * SECOND);
    let other = world.seen.iter().find(|seen| seen.change != Change::Updated);
    assert!(other.is_none(), "but for the update nothing is seen: {other:?}");
}

#[test]
fn a_host_that_nobody_heard_say_what_it_is_by_then_says_it_again() {
    let mut world = World::settled(2, Params::default(), 8);
    world.loss = 1.0;
    world.with(1, |core, now| core.set_record(now, super::super::Record::default()));
    world.run(Duration::from_millis(10));
    world.loss = 0.0;
    world.run(30 * SECOND);
    let other = world.seen.iter().find(|seen| seen.change != Change::Updated);
    assert!(other.is_none(), "it is not taken for dead: {other:?}");
}

#[test]
fn those_that_are_gone_are_forgotten_by_all_and_do_not_come_back() {
    let params =
        Params { remember: 20 * SECOND, tell: 5 * SECOND, sync: SECOND, ..Params::default() };
    let mut world = World::settled(8, params, 8);
    world.kill(5);
    world.run(5 * SECOND);
    // One that stood still forgets later, and meanwhile tells the others what it knows.
    world.freeze(3);
    world.run(seconds(1.5));
    world.thaw(3);
    world.run(22 * SECOND);
    assert_eq!(world.when(5, Change::Forgotten, Duration::ZERO).len(), 7);
    for by in world.running() {
        assert_eq!(world.members(by).len(), 7, "whom {by} sees");
        let core = world.hosts[by].core.as_ref().expect("runs");
        assert_eq!(core.remembered(), 6, "whom {by} remembers");
    }
}

#[test]
fn with_a_twentieth_lost_the_dead_are_found_and_nobody_is_lost_for_ever() {
    for seed in 0..3 {
        let mut world = World::settled(30, Params::default(), seed);
        world.loss = 0.05;
        world.run(60 * SECOND);
        world.kill(7);
        let at = world.now;
        world.run(12 * SECOND);
        assert_eq!(world.when(7, Change::Failed, at).len(), 29, "seed {seed}");
        world.loss = 0.0;
        world.run_until(10 * SECOND, World::is_whole).expect("all see all that live");
    }
}

#[test]
fn one_that_is_said_to_be_dead_by_a_liar_is_up_again_at_all_within_seconds() {
    let mut world = World::settled(10, Params::default(), 6);
    let generation = world.generation(4);
    let victim = *world.hosts[4].core.as_ref().expect("runs").me();
    let later = |by: u64| super::super::Identity { generation: victim.generation + by, ..victim };
    let renewed = super::super::Identity { renewal: 1_000, leaving: true, ..victim };
    let lies = [
        Update::down(victim),
        Update::down(renewed),
        Update::new(victim, u16::MAX, foca::State::Suspect),
    ];
    for lie in lies {
        tell_all_but(&mut world, 4, 9, lie.clone());
        world.run(Duration::from_millis(300));
        let back = world.run_until(10 * SECOND, World::is_whole);
        assert!(back.is_some(), "it is up again: {lie:?}");
        world.run(20 * SECOND);
        assert!(world.is_whole() && world.generation(4) == generation, "in the same life: {lie:?}");
    }
    // A later life cannot be denied: it takes one yet later.
    tell_all_but(&mut world, 4, 9, Update::alive(later(1_000)));
    world.run(Duration::from_millis(300));
    world.run_until(10 * SECOND, World::is_whole).expect("it is up again");
    assert!(world.generation(4) > generation + 1_000);
}

/// A member says something about a victim to everybody, in its own name.
fn tell_all_but(
    world: &mut World,
    victim: usize,
    liar: usize,
    lie: Update<super::super::Identity>,
) {
    let src = *world.hosts[liar].core.as_ref().expect("runs").me();
    for to in (0..world.hosts.len()).filter(|to| *to != liar && *to != victim) {
        let dst = *world.hosts[to].core.as_ref().expect("runs").me();
        let header = Header { src, src_incarnation: 0, dst, message: Said::Gossip };
        let packet = Packet { header, updates: vec![lie.clone()] };
        world.send(liar, to, Bytes::from(packet.write()));
    }
}

#[test]
fn what_happens_follows_from_the_seed() {
    let run = |seed| {
        let mut world = World::new(12, Params::default(), seed);
        world.loss = 0.1;
        world.start(0);
        (1..12).for_each(|host| world.join(host, 0));
        world.run(30 * SECOND);
        (world.sent(), world.streamed, world.seen.len())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn no_more_hosts_are_taken_in_than_there_is_place_for() {
    let params = Params { max_hosts: 50, ..Params::default() };
    let mut world = World::settled(4, params, 1);
    for invented in 0..30_u64 {
        let hosts = (0..10).map(|host| 1_000 + 10 * invented + host);
        let updates =
            hosts.map(|host| Update::alive(identity(host as usize, super::world::epoch())));
        for update in updates {
            tell_all_but(&mut world, 3, 2, update);
        }
        world.run(Duration::from_millis(1));
    }
    world.run(SECOND);
    assert!(world.running().all(|by| world.members(by).len() <= 51));
    assert!(world.with(0, |core, _| core.counts()).no_place > 0);
}

/// The table in `src/docs`: `KILLICK_HOSTS=3,60 cargo test … measured -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn measured() {
    let hosts = std::env::var("KILLICK_HOSTS").unwrap_or("3,10,60,300,1000".into());
    println!(
        "| hosts | packets/s | KiB/s | compared, KiB/s | killed: first / p50 / last, s | storm: known / told, s | halves heal, s | took, s |"
    );
    for hosts in hosts.split(',').map(|hosts| hosts.parse::<usize>().expect("numbers")) {
        let began = Instant::now();
        let mut world = World::settled(hosts, Params::default(), 7);
        let time = if hosts > 500 { 10 * SECOND } else { 120 * SECOND };
        let (before, streamed) = (world.sent(), world.streamed);
        world.run(time);
        let each = hosts as f64 * time.as_secs_f64();
        let packets = (world.sent().0 - before.0) as f64 / each;
        let bytes = (world.sent().1 - before.1) as f64 / each / 1024.0;
        let streamed = (world.streamed - streamed) as f64 / each / 1024.0;
        assert_eq!(world.failures(), 0);
        let runs = (1_000 / hosts as u64).clamp(1, 100);
        let mut seen: Vec<f64> = (0..runs)
            .flat_map(|seed| kill_one(hosts, seed))
            .map(|after| after.as_secs_f64())
            .collect();
        seen.sort_by(f64::total_cmp);
        let (first, middle, last) = (seen[0], seen[seen.len() / 2], seen[seen.len() - 1]);
        let (known, told) = storm(hosts, 5 * SECOND, 0.0);
        let (known, told) = (known.as_secs_f64(), told.as_secs_f64());
        let runs = (600 / hosts as u64).clamp(1, 50);
        let healed = (0..runs).map(|seed| heal(hosts, hosts / 2, seed)).max();
        let healed = healed.unwrap_or_default().as_secs_f64();
        let took = began.elapsed().as_secs();
        println!(
            "| {hosts} | {packets:.1} | {bytes:.2} | {streamed:.2} | {first:.1} / {middle:.1} / {last:.1} | {known:.1} / {told:.1} | {healed:.1} | {took} |"
        );
    }
}
