//! What a host goes by: a part of the fingerprint of its key.

use std::fmt;
use std::str::FromStr;

use killick_client::Fingerprint;

/// Who a host is: the first 128 bits of the SHA-256 of its public key. Paths have the first half of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostId([u8; 16]);

impl HostId {
    /// The host with these bytes.
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        HostId(bytes)
    }

    /// The host whose key has this fingerprint.
    pub(crate) fn of(key: &Fingerprint) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&key.as_bytes()[..16]);
        HostId(id)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// What stands in a path, as 16 hex digits.
    pub(crate) fn short(&self) -> u64 {
        let mut half = [0; 8];
        half.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(half)
    }
}

/// 32 hex digits.
impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostId({self})")
    }
}

/// Why a text is no [`HostId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoHostId;

impl FromStr for HostId {
    type Err = NoHostId;

    fn from_str(text: &str) -> Result<Self, NoHostId> {
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NoHostId);
        }
        u128::from_str_radix(text, 16).map(|id| HostId(id.to_be_bytes())).map_err(|_| NoHostId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_paths_have_its_first_half() {
        let text = "f19caa21dda41c430123456789abcdef";
        let id: HostId = text.parse().expect("an id");
        assert_eq!(id.to_string(), text);
        assert_eq!(format!("{:016x}", id.short()), "f19caa21dda41c43");
        for bad in [
            "",
            "f19caa21dda41c43",
            "F19caa21dda41c430123456789abcdef",
            "+19caa21dda41c430123456789abcdef",
        ] {
            assert_eq!(bad.parse::<HostId>(), Err(NoHostId), "{bad}");
        }
    }
}
