//! What a host tells of itself, beside where it is.

use std::fmt;

use tokio_util::bytes::{Buf, BufMut};

use super::wire::{Malformed, put_number, take_bounded};

/// What a host tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) hostname: String,
    /// Of the program that serves.
    pub(crate) version: String,
    /// Where clients reach it.
    pub(crate) addresses: Vec<String>,
    pub(crate) tags: Vec<(String, String)>,
}

const HOSTNAME: usize = 255;
const VERSION: usize = 64;
const ADDRESSES: usize = 16;
const ADDRESS: usize = 300;
const TAGS: usize = 64;
const TAG: usize = 256;
/// The longest record, as bytes: every text has up to 5 bytes before it.
pub(crate) const MAX_RECORD: usize = 16 << 10;

/// A record that is too large for others to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordTooLarge {
    what: &'static str,
    has: usize,
    bound: usize,
}

impl fmt::Display for RecordTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordTooLarge { what, has, bound } = self;
        write!(f, "what a host tells of itself: {what}: {has}, where {bound} is the limit")
    }
}

impl std::error::Error for RecordTooLarge {}

impl Record {
    /// Whether others would take it.
    pub(crate) fn check(&self) -> Result<(), RecordTooLarge> {
        let within = |what, has, bound| {
            if has > bound { Err(RecordTooLarge { what, has, bound }) } else { Ok(()) }
        };
        within("bytes of the host's name", self.hostname.len(), HOSTNAME)?;
        within("bytes of the version", self.version.len(), VERSION)?;
        within("addresses", self.addresses.len(), ADDRESSES)?;
        for address in &self.addresses {
            within("bytes of an address", address.len(), ADDRESS)?;
        }
        within("tags", self.tags.len(), TAGS)?;
        for (name, value) in &self.tags {
            within("bytes of a tag's name", name.len(), TAG)?;
            within("bytes of a tag's value", value.len(), TAG)?;
        }
        within("bytes in all", self.to_bytes().len(), MAX_RECORD)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_text(&self.hostname, &mut bytes);
        put_text(&self.version, &mut bytes);
        put_number(self.addresses.len() as u32, &mut bytes);
        for address in &self.addresses {
            put_text(address, &mut bytes);
        }
        put_number(self.tags.len() as u32, &mut bytes);
        for (name, value) in &self.tags {
            put_text(name, &mut bytes);
            put_text(value, &mut bytes);
        }
        bytes
    }

    /// Reads a record, which must be all that there is.
    pub(crate) fn from_bytes(mut from: &[u8]) -> Result<Self, Malformed> {
        let from = &mut from;
        let hostname = take_text(from, HOSTNAME)?;
        let version = take_text(from, VERSION)?;
        let addresses = take_bounded(from, ADDRESSES)?;
        let addresses =
            (0..addresses).map(|_| take_text(from, ADDRESS)).collect::<Result<_, _>>()?;
        let tags = take_bounded(from, TAGS)?;
        let tags = (0..tags)
            .map(|_| Ok((take_text(from, TAG)?, take_text(from, TAG)?)))
            .collect::<Result<_, _>>()?;
        if from.is_empty() {
            Ok(Record { hostname, version, addresses, tags })
        } else {
            Err(Malformed::Length)
        }
    }
}

fn put_text(text: &str, to: &mut Vec<u8>) {
    put_number(text.len() as u32, to);
    to.put_slice(text.as_bytes());
}

fn take_text(from: &mut &[u8], bound: usize) -> Result<String, Malformed> {
    let length = take_bounded(from, bound)?;
    let text = from.get(..length).ok_or(Malformed::Length)?;
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Bound)?.to_owned();
    from.advance(length);
    Ok(text)
}
