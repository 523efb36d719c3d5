//! What hosts really say to each other, as an input of the fuzz target `members`, and what it found.

use std::path::Path;
use std::time::Duration;

use foca::{Header, Member as Update, Message as Said};

use super::super::codec::Packet;
use super::super::core::{Core, Now, Output};
use super::super::fuzzing::{self, EPOCH, Subject, address, core, host};
use super::super::sync::{Known, Message};
use super::super::wire::LAST_GENERATION;
use super::super::{Identity, State};

/// A host among others, and what it is told, as steps of the fuzz target.
struct Traffic {
    cores: Vec<Core>,
    now: Duration,
    /// What the first is told, and when.
    steps: Vec<u8>,
    marked: Duration,
}

impl Traffic {
    fn new(hosts: u8) -> Self {
        let cores = (0..hosts).map(core).collect();
        Traffic { cores, now: Duration::ZERO, steps: Vec::new(), marked: Duration::ZERO }
    }

    fn now(&self) -> Now {
        Now { elapsed: self.now, wall: EPOCH + self.now.as_millis() as u64 }
    }

    fn record(&mut self, to: usize, kind: u8, from: usize, bytes: &[u8]) {
        if to == 0 {
            // 400 ms are the fourth of the pauses.
            while self.marked + Duration::from_millis(400) <= self.now {
                self.marked += Duration::from_millis(400);
                self.steps.extend([5, 3]);
            }
            self.steps.extend([kind, from as u8]);
            self.steps.extend((bytes.len() as u16).to_be_bytes());
            self.steps.extend(bytes);
        }
    }

    /// Two hosts talk over a stream, until there is nothing to say.
    fn talk(&mut self, from: usize, to: usize, opening: Vec<u8>) {
        let (mut ends, mut said) = ((from, to), Some(opening));
        while let Some(message) = said {
            let (speaks, hears) = ends;
            self.record(hears, 2, speaks, &message);
            let now = self.now();
            said = self.cores[hears].sync(now, host(speaks as u8), &message).expect("a message");
            ends = (hears, speaks);
        }
    }

    fn greet(&mut self, from: usize, to: usize) {
        let now = self.now();
        let opening = self.cores[from].greeting(now, host(to as u8)).expect("a greeting");
        self.talk(from, to, opening);
    }

    fn run(&mut self, pause: Duration) {
        let end = self.now + pause;
        while self.now < end {
            for from in 0..self.cores.len() {
                while let Some(output) = self.cores[from].output() {
                    let now = self.now();
                    match output {
                        Output::Packet(out) => {
                            let to = u128::from_be_bytes(*out.to.as_bytes()) as usize;
                            self.record(to, 0, from, &out.packet);
                            self.cores[to].packet(now, host(from as u8), &out.packet);
                        }
                        Output::Sync { with, opening, .. } => {
                            let to = u128::from_be_bytes(*with.as_bytes()) as usize;
                            self.talk(from, to, opening);
                        }
                        _ => {}
                    }
                }
                let now = self.now();
                if self.cores[from].deadline().is_some_and(|deadline| deadline <= self.now) {
                    self.cores[from].tick(now);
                }
            }
            self.now += Duration::from_millis(5);
        }
    }
}

/// An input of what one of so many hosts is told that join.
fn joining(hosts: u8) -> Vec<u8> {
    let mut traffic = Traffic::new(hosts);
    for newcomer in 1..usize::from(hosts) {
        traffic.greet(newcomer, 0);
        traffic.run(Duration::from_millis(300));
    }
    traffic.run(Duration::from_secs(2));
    let now = traffic.now();
    traffic.cores[1].leave(now);
    traffic.run(Duration::from_millis(600));
    traffic.steps
}

#[test]
fn what_hosts_really_say_is_an_input_that_is_understood() {
    for hosts in [2, 4, 8] {
        let steps = joining(hosts);
        let mut subject = Subject { core: core(0), now: Duration::ZERO, off: 0, asked: false };
        fuzzing::run_on(&mut subject, &steps);
        let counts = subject.core.counts();
        assert_eq!((counts.malformed, counts.forged), (0, 0));
        let members = subject.core.members(|since| since);
        assert_eq!(members.len(), usize::from(hosts));
        if std::env::var_os("KILLICK_REGENERATE").is_some() {
            let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/members");
            std::fs::create_dir_all(&seeds).expect("a folder");
            std::fs::write(seeds.join(format!("{hosts}-hosts")), &steps).expect("written");
        }
    }
}

fn now() -> Now {
    Now { elapsed: Duration::ZERO, wall: EPOCH }
}

fn identity(number: u8) -> Identity {
    Identity::new(host(number), EPOCH, address(number))
}

#[test]
fn one_message_or_packet_with_more_hosts_than_there_is_place_for_does_not_go_over_it() {
    let mut core = core(0);
    let known =
        (1..100).map(|number| Known { member: Update::alive(identity(number)), told: true });
    let message = Message::Offer(known.collect()).write();
    core.sync(now(), host(1), &message).expect("a message");
    assert_eq!(core.kept().known, 8);

    let mut core = fuzzing::core(0);
    let (src, dst) = (identity(99), *core.me());
    let header = Header { src, src_incarnation: 0, dst, message: Said::Gossip };
    let updates = (1..20).map(|number| Update::alive(identity(number))).collect();
    core.packet(now(), host(99), &Packet { header, updates }.write());
    assert_eq!(core.kept().known, 8);
    assert!(core.members(|since| since).contains_key(&host(99)), "who says it has a place");
}

#[test]
fn a_host_that_is_said_to_go_and_come_back_again_and_again_takes_no_more_memory_than_once() {
    let mut core = core(0);
    for renewal in 0..10_000 {
        let life = Identity { renewal, ..identity(2) };
        for update in [Update::alive(life), Update::down(life)] {
            let (src, dst) = (identity(1), *core.me());
            let header = Header { src, src_incarnation: 0, dst, message: Said::Gossip };
            core.packet(now(), host(1), &Packet { header, updates: vec![update] }.write());
        }
        while core.output().is_some() {}
    }
    assert_eq!(core.members(|since| since)[&host(2)].state, State::Failed);
    // What is planned for soon is soon done; that a host is to be forgotten, not for an hour.
    let end = Duration::from_secs(5);
    while let Some(elapsed) = core.deadline().filter(|deadline| *deadline < end) {
        core.tick(Now { elapsed, wall: EPOCH });
        while core.output().is_some() {}
    }
    let timers = core.kept().timers;
    assert!(timers < 50, "{timers}");
}

#[test]
fn a_lie_about_a_life_at_the_end_of_all_time_does_not_make_a_host_have_one_that_nobody_believes() {
    let mut core = core(0);
    for generation in [LAST_GENERATION, LAST_GENERATION - 1, LAST_GENERATION / 2 + 1] {
        let claim = Identity { generation, ..*core.me() };
        let message = Message::Offer(vec![Known { member: Update::alive(claim), told: true }]);
        core.sync(now(), host(1), &message.write()).expect("a message");
        assert_eq!(core.me().generation, EPOCH);
    }
    let claim = Identity { generation: LAST_GENERATION / 2, ..*core.me() };
    let message = Message::Offer(vec![Known { member: Update::alive(claim), told: true }]);
    core.sync(now(), host(1), &message.write()).expect("a message");
    assert_eq!(core.me().generation, LAST_GENERATION / 2 + 1, "that may have been its own");
}
