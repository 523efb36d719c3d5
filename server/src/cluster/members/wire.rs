//! The bytes of what hosts tell each other: small, bounded, the same for packets and for streams.
//!
//! ```text
//! identity  host 16 · generation 6 · renewal n · record n · flags 1 (leaving, IPv6) · address 4 or 16 · port 2
//! member    identity · incarnation n · state 1
//! n         7 bits a byte, the lowest first, as long as the eighth is set
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use foca::{Member, State};
use tokio_util::bytes::{Buf, BufMut};

use super::{HostId, Identity};

/// The form of packets and of streams, their first byte.
pub(crate) const VERSION: u8 = 1;

/// Why bytes are none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// They end too soon, or go on after their end.
    Length,
    /// Another version of the form.
    Version(u8),
    /// A number that stands for nothing.
    Tag(u8),
    /// A number or a text over its bound.
    Bound,
    /// No place to write to.
    Full,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Length => write!(f, "it ends too soon, or goes on after its end"),
            Malformed::Version(version) => {
                write!(f, "version {version} of the form, where this is {VERSION}")
            }
            Malformed::Tag(tag) => write!(f, "{tag} stands for nothing"),
            Malformed::Bound => write!(f, "a number or a text over its bound"),
            Malformed::Full => write!(f, "no place for it"),
        }
    }
}

impl std::error::Error for Malformed {}

const LEAVING: u8 = 1;
const IPV6: u8 = 2;
/// The end of 48 bits: in the year 10889.
pub(crate) const LAST_GENERATION: u64 = (1 << 48) - 1;
/// The longest identity.
const IDENTITY: usize = 16 + 6 + 5 + 5 + 1 + 16 + 2;
/// The longest member.
pub(crate) const MEMBER: usize = IDENTITY + 3 + 1;

pub(crate) fn take_u8(from: &mut impl Buf) -> Result<u8, Malformed> {
    from.try_get_u8().map_err(|_| Malformed::Length)
}

pub(crate) fn take_bytes<const N: usize>(from: &mut impl Buf) -> Result<[u8; N], Malformed> {
    let mut bytes = [0; N];
    from.try_copy_to_slice(&mut bytes).map_err(|_| Malformed::Length)?;
    Ok(bytes)
}

pub(crate) fn take_version(from: &mut impl Buf) -> Result<(), Malformed> {
    match take_u8(from)? {
        VERSION => Ok(()),
        other => Err(Malformed::Version(other)),
    }
}

pub(crate) fn put_number(number: u32, to: &mut impl BufMut) {
    let mut rest = number;
    while rest >= 0x80 {
        to.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.put_u8(rest as u8);
}

pub(crate) fn take_number(from: &mut impl Buf) -> Result<u32, Malformed> {
    let mut number = 0_u64;
    for place in 0..5 {
        let byte = take_u8(from)?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return u32::try_from(number).map_err(|_| Malformed::Bound);
        }
    }
    Err(Malformed::Bound)
}

/// Takes a number that is at most `bound`, as what it is used for.
pub(crate) fn take_bounded(from: &mut impl Buf, bound: usize) -> Result<usize, Malformed> {
    let number = take_number(from)? as usize;
    if number > bound { Err(Malformed::Bound) } else { Ok(number) }
}

pub(crate) fn put_generation(generation: u64, to: &mut impl BufMut) {
    to.put_slice(&generation.min(LAST_GENERATION).to_be_bytes()[2..]);
}

pub(crate) fn take_generation(from: &mut impl Buf) -> Result<u64, Malformed> {
    let mut bytes = [0; 8];
    bytes[2..].copy_from_slice(&take_bytes::<6>(from)?);
    Ok(u64::from_be_bytes(bytes))
}

pub(crate) fn put_identity(of: &Identity, to: &mut impl BufMut) {
    to.put_slice(of.host.as_bytes());
    put_generation(of.generation, to);
    put_number(of.renewal, to);
    put_number(of.record, to);
    let flags = if of.leaving { LEAVING } else { 0 };
    match of.at.ip() {
        IpAddr::V4(ip) => {
            to.put_u8(flags);
            to.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            to.put_u8(flags | IPV6);
            to.put_slice(&ip.octets());
        }
    }
    to.put_u16(of.at.port());
}

pub(crate) fn take_identity(from: &mut impl Buf) -> Result<Identity, Malformed> {
    let host = HostId::from_bytes(take_bytes(from)?);
    let generation = take_generation(from)?;
    let renewal = take_number(from)?;
    let record = take_number(from)?;
    let flags = take_u8(from)?;
    if flags & !(LEAVING | IPV6) != 0 {
        return Err(Malformed::Tag(flags));
    }
    let ip = if flags & IPV6 != 0 {
        IpAddr::from(Ipv6Addr::from(take_bytes::<16>(from)?))
    } else {
        IpAddr::from(Ipv4Addr::from(take_bytes::<4>(from)?))
    };
    let port = from.try_get_u16().map_err(|_| Malformed::Length)?;
    // One form for each address: what is equal is so byte by byte.
    let at = super::identity::without_scope(SocketAddr::from((ip, port)));
    Ok(Identity { host, generation, renewal, record, leaving: flags & LEAVING != 0, at })
}

pub(crate) fn put_member(member: &Member<Identity>, to: &mut impl BufMut) {
    put_identity(member.id(), to);
    put_number(u32::from(member.incarnation()), to);
    to.put_u8(match member.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
}

pub(crate) fn take_member(from: &mut impl Buf) -> Result<Member<Identity>, Malformed> {
    let identity = take_identity(from)?;
    let incarnation = take_incarnation(from)?;
    let state = match take_u8(from)? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        other => return Err(Malformed::Tag(other)),
    };
    Ok(Member::new(identity, incarnation, state))
}

pub(crate) fn take_incarnation(from: &mut impl Buf) -> Result<u16, Malformed> {
    u16::try_from(take_number(from)?).map_err(|_| Malformed::Bound)
}
