//! What two hosts tell each other over a stream, so that both know all that either knows.
//!
//! ```text
//! asks                                 answers
//! Digest of what it knows       →
//!                               ←      Same, and that was it; or an Offer: whom it knows
//! Exchange: whom it knows, and
//!   the records the other lacks →
//!                               ←      Rest: the records that the other lacks
//!
//! Want: hosts                   →
//!                               ←      Rest: their records
//! ```
//! That a host is dead is told as what the sender thinks: the other suspects it, and finds out.
//!
//! Who answers keeps nothing between two messages: each says all that its answer needs. That also is what
//! ends it: no answer is of an earlier kind than what it answers.

use foca::Member;
use tokio_util::bytes::{Buf, BufMut};

use super::identity::Edition;
use super::record::MAX_RECORD;
use super::wire::{self, Malformed, take_bounded, take_bytes, take_u8};
use super::{HostId, Identity};

/// The longest message.
pub(crate) const MAX_MESSAGE: usize = 2 << 20;
/// Of it, records.
const MAX_RECORDS: usize = 1 << 20;
/// As many as fit, whatever they are.
const MAX_MEMBERS: usize = (MAX_MESSAGE - MAX_RECORDS) / (wire::MEMBER + 1) - 1;
/// How many records are asked for at once.
pub(crate) const MAX_WANTED: usize = 256;

/// One of the messages.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    Digest(u64),
    Want(Vec<HostId>),
    Same,
    Offer(Vec<Known>),
    Exchange(Vec<Known>, Vec<Told>),
    Rest(Vec<Told>),
}

/// A host that the sender knows of, and whether it has its record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) member: Member<Identity>,
    pub(crate) told: bool,
}

/// A record, as bytes: who passes it on need not read it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) host: HostId,
    pub(crate) edition: Edition,
    pub(crate) record: Vec<u8>,
}

impl Message {
    fn kind(&self) -> u8 {
        match self {
            Message::Digest(_) => 1,
            Message::Want(_) => 2,
            Message::Same => 3,
            Message::Offer(_) => 4,
            Message::Exchange(..) => 5,
            Message::Rest(_) => 6,
        }
    }

    /// Nothing comes after it.
    pub(crate) fn is_last(message: &[u8]) -> bool {
        matches!(message.get(1), Some(3 | 6))
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![wire::VERSION, self.kind()];
        match self {
            Message::Digest(digest) => bytes.put_u64(*digest),
            Message::Want(hosts) => put_list(hosts.iter().take(MAX_WANTED), &mut bytes, put_host),
            Message::Same => {}
            Message::Offer(known) => put_known(known, &mut bytes),
            Message::Exchange(known, told) => {
                put_known(known, &mut bytes);
                put_told(told, &mut bytes);
            }
            Message::Rest(told) => put_told(told, &mut bytes),
        }
        bytes
    }

    /// Reads a message, which must be all that there is.
    pub(crate) fn read(mut from: &[u8]) -> Result<Self, Malformed> {
        if from.len() > MAX_MESSAGE {
            return Err(Malformed::Bound);
        }
        let from = &mut from;
        wire::take_version(from)?;
        let message = match take_u8(from)? {
            1 => Message::Digest(u64::from_be_bytes(take_bytes(from)?)),
            2 => Message::Want(take_list(from, MAX_WANTED, take_host)?),
            3 => Message::Same,
            4 => Message::Offer(take_list(from, MAX_MEMBERS, take_known)?),
            5 => Message::Exchange(
                take_list(from, MAX_MEMBERS, take_known)?,
                take_list(from, MAX_MEMBERS, take_told)?,
            ),
            6 => Message::Rest(take_list(from, MAX_MEMBERS, take_told)?),
            other => return Err(Malformed::Tag(other)),
        };
        if from.is_empty() { Ok(message) } else { Err(Malformed::Length) }
    }
}

/// As many of the records as fit into a message: the others are asked for again.
pub(crate) fn that_fit(told: impl Iterator<Item = Told>) -> Vec<Told> {
    let mut room = MAX_RECORDS;
    told.take(MAX_MEMBERS)
        .take_while(|told| {
            let length = told.record.len() + 32;
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        })
        .collect()
}

fn put_list<'a, T: 'a>(
    list: impl ExactSizeIterator<Item = &'a T>,
    to: &mut Vec<u8>,
    put: fn(&T, &mut Vec<u8>),
) {
    wire::put_number(list.len() as u32, to);
    list.for_each(|item| put(item, to));
}

/// The length is what the sender says: no more place is made for it than there are bytes.
fn take_list<T>(
    from: &mut &[u8],
    bound: usize,
    take: fn(&mut &[u8]) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let length = take_bounded(from, bound)?;
    let mut list = Vec::with_capacity(length.min(from.len() / 16));
    for _ in 0..length {
        list.push(take(from)?);
    }
    Ok(list)
}

fn put_host(host: &HostId, to: &mut Vec<u8>) {
    to.put_slice(host.as_bytes());
}

fn take_host(from: &mut &[u8]) -> Result<HostId, Malformed> {
    Ok(HostId::from_bytes(take_bytes(from)?))
}

fn put_known(known: &[Known], to: &mut Vec<u8>) {
    put_list(known.iter().take(MAX_MEMBERS), to, |known, to| {
        wire::put_member(&known.member, to);
        to.put_u8(u8::from(known.told));
    });
}

fn take_known(from: &mut &[u8]) -> Result<Known, Malformed> {
    let member = wire::take_member(from)?;
    match take_u8(from)? {
        told @ (0 | 1) => Ok(Known { member, told: told == 1 }),
        other => Err(Malformed::Tag(other)),
    }
}

fn put_told(told: &[Told], to: &mut Vec<u8>) {
    put_list(told.iter(), to, |told, to| {
        put_host(&told.host, to);
        wire::put_generation(told.edition.generation, to);
        wire::put_number(told.edition.version, to);
        wire::put_number(told.record.len() as u32, to);
        to.put_slice(&told.record);
    });
}

fn take_told(from: &mut &[u8]) -> Result<Told, Malformed> {
    let host = take_host(from)?;
    let generation = wire::take_generation(from)?;
    let version = wire::take_number(from)?;
    let length = take_bounded(from, MAX_RECORD)?;
    let record = from.get(..length).ok_or(Malformed::Length)?.to_vec();
    from.advance(length);
    Ok(Told { host, edition: Edition { generation, version }, record })
}

/// A number that two hosts share who know the same: the sum of what each single fact hashes to.
pub(crate) fn digest(known: impl Iterator<Item = Known>) -> u64 {
    let mut bytes = Vec::with_capacity(wire::MEMBER + 1);
    known.fold(0, |sum: u64, known| {
        bytes.clear();
        // In the state of being down, foca leaves the incarnation at what it was when it heard of it.
        let down = known.member.state() == foca::State::Down;
        let incarnation = if down { 0 } else { known.member.incarnation() };
        let member = Member::new(*known.member.id(), incarnation, known.member.state());
        wire::put_member(&member, &mut bytes);
        bytes.push(u8::from(known.told));
        sum.wrapping_add(fnv(&bytes))
    })
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
