//! What somebody sends who is a member and means ill, or no good at all.

use std::time::Duration;

use foca::{Header, Member as Update, Message as Said, State as Claim};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio_util::bytes::Bytes;

use super::super::codec::{MAX_PACKET, Packet};
use super::super::identity::Edition;
use super::super::roster::Change;
use super::super::sync::{Known, Message, Told};
use super::super::wire::Malformed;
use super::super::{Identity, Params, Record, State};
use super::world::{World, at, epoch, id, identity};

const SECOND: Duration = Duration::from_secs(1);

fn me(world: &World, host: usize) -> Identity {
    *world.hosts[host].core.as_ref().expect("runs").me()
}

#[test]
fn a_packet_of_whom_the_sender_is_not_is_dropped_and_counted() {
    let mut world = World::settled(4, Params::default(), 1);
    for said in [Said::Gossip, Said::TurnUndead, Said::Announce] {
        let (src, dst) = (me(&world, 1), me(&world, 0));
        let updates = vec![Update::down(me(&world, 3))];
        let header = Header { src, src_incarnation: 0, dst, message: said };
        let packet = Bytes::from(Packet { header, updates }.write());
        // From 2, who says that he is 1.
        world.send(2, 0, packet);
    }
    world.run(5 * SECOND);
    let counts = world.with(0, |core, _| core.counts());
    assert_eq!(counts.forged, 3);
    assert_eq!(counts.renewals, 0);
    assert!(world.seen.is_empty(), "nothing comes of it: {:?}", world.seen.first());
}

#[test]
fn nobody_speaks_as_the_receiver() {
    let mut world = World::settled(3, Params::default(), 1);
    let myself = me(&world, 0);
    let header = Header { src: myself, src_incarnation: 0, dst: myself, message: Said::Gossip };
    let packet = Packet { header, updates: Vec::new() }.write();
    world.with(0, |core, now| core.packet(now, id(0), &packet));
    assert_eq!(world.with(0, |core, _| core.counts()).forged, 1);
}

#[test]
fn being_told_to_be_dead_again_and_again_costs_a_host_ten_renewals_a_second_at_most() {
    let mut world = World::settled(5, Params::default(), 1);
    for _ in 0..1_000 {
        let (src, dst) = (me(&world, 2), me(&world, 0));
        let header = Header { src, src_incarnation: 0, dst, message: Said::TurnUndead };
        world.send(2, 0, Bytes::from(Packet { header, updates: Vec::new() }.write()));
        let claim = Identity { renewal: dst.renewal + 7, ..dst };
        let header = Header { src, src_incarnation: 0, dst, message: Said::Gossip };
        let updates = vec![Update::down(dst), Update::alive(claim)];
        world.send(2, 0, Bytes::from(Packet { header, updates }.write()));
        world.run(Duration::from_millis(2));
    }
    let counts = world.with(0, |core, _| core.counts());
    assert!(counts.renewals > 5 && counts.renewals <= 42, "{}", counts.renewals);
    world.run_until(10 * SECOND, World::is_whole).expect("it is up at all");
}

#[test]
fn whatever_the_bytes_are_they_are_read_or_refused_and_the_cluster_stays_whole() {
    let mut world = World::settled(4, Params::default(), 5);
    let mut random = SmallRng::seed_from_u64(5);
    let (src, dst) = (me(&world, 2), me(&world, 0));
    let header = Header { src, src_incarnation: 3, dst, message: Said::Ping(9) };
    let updates = (1..4).map(|host| Update::alive(me(&world, host))).collect();
    let good = Packet { header, updates }.write();
    let known = [1, 3].map(|host| Known { member: Update::alive(me(&world, host)), told: true });
    let record = super::world::record(3).to_bytes();
    let told = vec![Told { host: id(3), edition: me(&world, 3).edition(), record }];
    let message = Message::Exchange(known.to_vec(), told).write();
    for round in 0..4_000 {
        let (mut bytes, stream) =
            if round % 2 == 0 { (good.clone(), false) } else { (message.clone(), true) };
        for _ in 0..random.random_range(0..4) {
            // Not the life of the sender: that is what a member may say of himself.
            let place = random.random_range(if stream { 0 } else { 24 }..bytes.len());
            bytes[place] = random.random();
        }
        bytes.truncate(random.random_range(0..bytes.len() * 2).max(1));
        if stream {
            let _ = world.with(0, |core, now| core.sync(now, id(2), &bytes));
        } else {
            world.with(0, |core, now| core.packet(now, id(2), &bytes));
        }
        if round % 100 == 0 {
            world.run(Duration::from_millis(10));
        }
    }
    assert!(world.with(0, |core, _| core.counts()).malformed > 500);
    world.run(30 * SECOND);
    for (by, of) in (0..4).flat_map(|by| (0..4).map(move |of| (by, of))) {
        assert_eq!(world.state(by, of), Some(State::Up), "{by} of {of}");
    }
}

#[test]
fn every_kind_of_packet_and_message_is_read_as_it_was_written() {
    let v6 = "[2001:db8::1]:7300".parse().expect("an address");
    let third = Identity { renewal: 300, leaving: true, ..Identity::new(id(3), epoch(), v6) };
    let said = [
        Said::Ping(1),
        Said::Ack(2),
        Said::PingReq { target: third, probe_number: 3 },
        Said::IndirectPing { origin: third, probe_number: 4 },
        Said::IndirectAck { target: third, probe_number: 5 },
        Said::ForwardedAck { origin: third, probe_number: 6 },
        Said::Feed,
        Said::Gossip,
    ];
    let states = [Claim::Alive, Claim::Suspect, Claim::Down];
    let updates: Vec<_> =
        states.map(|state| Update::new(third, u16::MAX, state)).into_iter().collect();
    for message in said {
        let (src, dst) = (identity(1, epoch()), identity(2, u64::from(u32::MAX)));
        let header = Header { src, src_incarnation: 128, dst, message };
        let packet = Packet { header: header.clone(), updates: updates.clone() };
        let read = Packet::read(&packet.write()).expect("is a packet");
        assert_eq!((read.header, read.updates), (header, updates.clone()));
    }
    let known = vec![Known { member: updates[1].clone(), told: true }];
    let edition = Edition { generation: epoch(), version: 9 };
    let told = vec![Told { host: id(3), edition, record: vec![1; 300] }];
    for message in [
        Message::Digest(u64::MAX),
        Message::Want(vec![id(1), id(2)]),
        Message::Same,
        Message::Offer(known.clone()),
        Message::Exchange(known, told.clone()),
        Message::Rest(told),
    ] {
        assert_eq!(Message::read(&message.write()), Ok(message));
    }
}

#[test]
fn lists_and_texts_over_their_bounds_are_refused_before_there_is_place_for_them() {
    assert_eq!(Message::read(&[1, 4, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(Malformed::Bound));
    assert_eq!(Message::read(&[1, 2, 200, 1]), Err(Malformed::Length));
    assert_eq!(Message::read(&[2, 3]), Err(Malformed::Version(2)));
    assert_eq!(Message::read(&[1, 3, 0]), Err(Malformed::Length));
    assert_eq!(Message::read(&[1, 9]), Err(Malformed::Tag(9)));
    assert!(matches!(Packet::read(&[1; MAX_PACKET + 1]), Err(Malformed::Length)));

    let fits = Record { hostname: "h".repeat(255), ..super::world::record(1) };
    assert_eq!(fits.check(), Ok(()));
    assert_eq!(Record::from_bytes(&fits.to_bytes()), Ok(fits.clone()));
    let tag = ("n".repeat(256), "v".repeat(256));
    for (record, words) in [
        (Record { hostname: "h".repeat(256), ..fits.clone() }, "name: 256, where 255 is the limit"),
        (Record { addresses: vec![String::new(); 17], ..fits.clone() }, "addresses: 17"),
        (
            Record { tags: vec![("n".repeat(257), String::new())], ..fits.clone() },
            "tag's name: 257",
        ),
        (Record { tags: vec![tag; 64], ..fits.clone() }, "bytes in all"),
    ] {
        let error = record.check().expect_err("is too large").to_string();
        assert!(error.contains(words), "{error}");
    }
    let long = Record { hostname: "h".repeat(256), ..fits };
    assert_eq!(Record::from_bytes(&long.to_bytes()), Err(Malformed::Bound));
}

#[test]
fn what_a_host_says_of_itself_replaces_what_another_said_of_it() {
    let mut world = World::settled(3, Params::default(), 1);
    let edition = me(&world, 2).edition();
    let says = |record: &Record| {
        let told = Told { host: id(2), edition, record: record.to_bytes() };
        Message::Rest(vec![told]).write()
    };
    let lie = Record { hostname: "a lie".into(), ..Record::default() };
    let name =
        |world: &World| world.members(0)[2].record.as_ref().map(|record| record.hostname.clone());
    let (lie, truth) = (says(&lie), says(&super::world::record(2)));
    world.with(0, |core, now| core.sync(now, id(1), &lie)).expect("is a message");
    assert_eq!(name(&world).as_deref(), Some("host-2.example.org"), "what is there stays");
    world.with(0, |core, now| core.sync(now, id(2), &lie)).expect("is a message");
    assert_eq!(name(&world).as_deref(), Some("a lie"));
    world.with(0, |core, now| core.sync(now, id(2), &truth)).expect("is a message");
    assert_eq!(name(&world).as_deref(), Some("host-2.example.org"));
    // Of a version that the host has not told of, nothing is taken: it would stand in the way of that.
    let edition = Edition { version: 9, ..edition };
    let told = Told { host: id(2), edition, record: Record::default().to_bytes() };
    let ahead = Message::Rest(vec![told]).write();
    world.with(0, |core, now| core.sync(now, id(2), &ahead)).expect("is a message");
    assert_eq!(name(&world).as_deref(), Some("host-2.example.org"));
}

#[test]
fn a_host_that_is_given_another_address_takes_its_own_back() {
    let mut world = World::settled(6, Params::default(), 2);
    let victim = me(&world, 4);
    let moved = Identity { at: at(5), renewal: 3, ..victim };
    for to in [0, 1, 2, 3] {
        let (src, dst) = (me(&world, 5), me(&world, to));
        let header = Header { src, src_incarnation: 0, dst, message: Said::Gossip };
        let packet = Packet { header, updates: vec![Update::alive(moved)] };
        world.send(5, to, Bytes::from(packet.write()));
    }
    world.run(Duration::from_millis(5));
    assert_eq!(world.members(0)[4].at, at(5), "it is believed at first");
    let right = |world: &World| (0..6).all(|by| world.members(by)[4].at == at(4));
    world.run_until(10 * SECOND, right).expect("it is where it is");
    assert_eq!(world.when(4, Change::Restarted, Duration::ZERO).len(), 0, "in the same life");
}

#[test]
fn a_host_of_which_somebody_says_that_it_has_left_is_back_in_the_same_life() {
    let mut world = World::settled(6, Params::default(), 3);
    for said in [Update::alive, Update::down] {
        let update = said(Identity { leaving: true, ..me(&world, 4) });
        let (src, dst) = (me(&world, 5), me(&world, 0));
        let header = Header { src, src_incarnation: 0, dst, message: Said::Gossip };
        world.send(5, 0, Bytes::from(Packet { header, updates: vec![update] }.write()));
        world.run(Duration::from_millis(5));
        assert_eq!(world.state(0, 4), Some(State::Left), "it is believed at first");
        world.run_until(10 * SECOND, World::is_whole).expect("it is up");
    }
    assert_eq!(world.when(4, Change::Restarted, Duration::ZERO).len(), 0, "in the same life");
}
