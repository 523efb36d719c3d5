//! Packets: foca's, in our bytes.
//!
//! ```text
//! packet    version 1 · message 1 · source identity · incarnation n · destination identity
//!           · the message's own: probe number 1, third host identity
//!           · the number of updates 2 · that many members
//! ```
//! A packet is read twice: here in whole, before foca sees it, to take out what nobody may claim, and by
//! foca.

use foca::{Codec, Header, Member, Message};
use tokio_util::bytes::{Buf, BufMut};

use super::Identity;
use super::wire::{self, Malformed, take_identity, take_u8};

/// The largest packet: a datagram in QUIC's smallest packets.
pub(crate) const MAX_PACKET: usize = 1150;
/// The longest header: version and message, three identities, an incarnation, a probe number.
const HEADER: usize = 2 + 3 * wire::MEMBER + 1;

/// How foca writes and reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packets;

impl Codec<Identity> for Packets {
    type Error = Malformed;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        mut to: impl BufMut,
    ) -> Result<(), Malformed> {
        let mut bytes = Vec::with_capacity(HEADER);
        put_header(header, &mut bytes);
        put_whole(&bytes, &mut to)
    }

    fn decode_header(&mut self, mut from: impl Buf) -> Result<Header<Identity>, Malformed> {
        take_header(&mut from)
    }

    fn encode_member(
        &mut self,
        member: &Member<Identity>,
        mut to: impl BufMut,
    ) -> Result<(), Malformed> {
        let mut bytes = Vec::with_capacity(wire::MEMBER);
        wire::put_member(member, &mut bytes);
        put_whole(&bytes, &mut to)
    }

    fn decode_member(&mut self, mut from: impl Buf) -> Result<Member<Identity>, Malformed> {
        wire::take_member(&mut from)
    }
}

/// All of `bytes`, or nothing.
fn put_whole(bytes: &[u8], to: &mut impl BufMut) -> Result<(), Malformed> {
    if to.remaining_mut() < bytes.len() {
        return Err(Malformed::Full);
    }
    to.put_slice(bytes);
    Ok(())
}

/// What stands for each message.
mod tag {
    pub(super) const PING: u8 = 0;
    pub(super) const ACK: u8 = 1;
    pub(super) const PING_REQ: u8 = 2;
    pub(super) const INDIRECT_PING: u8 = 3;
    pub(super) const INDIRECT_ACK: u8 = 4;
    pub(super) const FORWARDED_ACK: u8 = 5;
    pub(super) const ANNOUNCE: u8 = 6;
    pub(super) const FEED: u8 = 7;
    pub(super) const GOSSIP: u8 = 8;
    pub(super) const TURN_UNDEAD: u8 = 10;
}

fn put_header(header: &Header<Identity>, to: &mut impl BufMut) {
    let (tag, probe, third) = match &header.message {
        Message::Ping(probe) => (tag::PING, Some(*probe), None),
        Message::Ack(probe) => (tag::ACK, Some(*probe), None),
        Message::PingReq { target, probe_number } => {
            (tag::PING_REQ, Some(*probe_number), Some(target))
        }
        Message::IndirectPing { origin, probe_number } => {
            (tag::INDIRECT_PING, Some(*probe_number), Some(origin))
        }
        Message::IndirectAck { target, probe_number } => {
            (tag::INDIRECT_ACK, Some(*probe_number), Some(target))
        }
        Message::ForwardedAck { origin, probe_number } => {
            (tag::FORWARDED_ACK, Some(*probe_number), Some(origin))
        }
        Message::Announce => (tag::ANNOUNCE, None, None),
        Message::Feed => (tag::FEED, None, None),
        // Broadcasts of anything but updates are not used.
        Message::Gossip | Message::Broadcast => (tag::GOSSIP, None, None),
        Message::TurnUndead => (tag::TURN_UNDEAD, None, None),
    };
    to.put_u8(wire::VERSION);
    to.put_u8(tag);
    wire::put_identity(&header.src, to);
    wire::put_number(u32::from(header.src_incarnation), to);
    wire::put_identity(&header.dst, to);
    if let Some(probe) = probe {
        to.put_u8(probe);
    }
    if let Some(third) = third {
        wire::put_identity(third, to);
    }
}

fn take_header(from: &mut impl Buf) -> Result<Header<Identity>, Malformed> {
    wire::take_version(from)?;
    let tag = take_u8(from)?;
    let src = take_identity(from)?;
    let src_incarnation = wire::take_incarnation(from)?;
    let dst = take_identity(from)?;
    let message = match tag {
        tag::PING => Message::Ping(take_u8(from)?),
        tag::ACK => Message::Ack(take_u8(from)?),
        tag::PING_REQ => {
            let probe_number = take_u8(from)?;
            Message::PingReq { target: take_identity(from)?, probe_number }
        }
        tag::INDIRECT_PING => {
            let probe_number = take_u8(from)?;
            Message::IndirectPing { origin: take_identity(from)?, probe_number }
        }
        tag::INDIRECT_ACK => {
            let probe_number = take_u8(from)?;
            Message::IndirectAck { target: take_identity(from)?, probe_number }
        }
        tag::FORWARDED_ACK => {
            let probe_number = take_u8(from)?;
            Message::ForwardedAck { origin: take_identity(from)?, probe_number }
        }
        tag::ANNOUNCE => Message::Announce,
        tag::FEED => Message::Feed,
        tag::GOSSIP => Message::Gossip,
        tag::TURN_UNDEAD => Message::TurnUndead,
        other => return Err(Malformed::Tag(other)),
    };
    Ok(Header { src, src_incarnation, dst, message })
}

/// A packet, read in whole.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) header: Header<Identity>,
    pub(crate) updates: Vec<Member<Identity>>,
}

impl Packet {
    /// Reads a packet. As foca does, but that all of it must be there, and nothing more.
    pub(crate) fn read(mut bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_PACKET {
            return Err(Malformed::Length);
        }
        let header = take_header(&mut bytes)?;
        let mut updates = Vec::new();
        if !bytes.is_empty() {
            let count = bytes.try_get_u16().map_err(|_| Malformed::Length)?;
            for _ in 0..count {
                updates.push(wire::take_member(&mut bytes)?);
            }
        }
        if bytes.is_empty() { Ok(Packet { header, updates }) } else { Err(Malformed::Length) }
    }

    /// The bytes of it.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_PACKET);
        put_header(&self.header, &mut bytes);
        let bare = matches!(self.header.message, Message::Announce | Message::TurnUndead);
        if !bare {
            bytes.put_u16(u16::try_from(self.updates.len()).unwrap_or(u16::MAX));
            self.updates.iter().for_each(|update| wire::put_member(update, &mut bytes));
        }
        bytes
    }
}

/// How often the sender of `packet`, one that foca has written, has refuted suspicions.
pub(crate) fn incarnation_in(packet: &[u8]) -> Option<u16> {
    let mut rest = packet.get(2..)?;
    take_identity(&mut rest).ok()?;
    wire::take_incarnation(&mut rest).ok()
}
