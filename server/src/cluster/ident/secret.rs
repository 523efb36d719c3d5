//! What the hosts of a small cluster share instead of an authority.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use killick_client::IdentityError;
use killick_client::internal::read_private;
use rcgen::KeyPair;
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use crate::pki;

/// What the text of a secret begins with.
const PREFIX: &str = "killick-secret-";

/// How many random bytes it is.
const BYTES: usize = 32;

/// How many bytes of a sum follow them.
const SUM: usize = 4;

/// The hex digits of both.
const DIGITS: usize = 2 * (BYTES + SUM);

/// The secret of a cluster: who has it is a host of it, if it wants to.
///
/// It is 256 random bits, made here: a host shows what can be tried against guesses, so that one which people
/// think of is none. Its text is `killick-secret-` and 72 hex digits, the last 8 of which tell a mistyped one.
///
/// # Examples
/// ```
/// use killick_server::{ClusterSecret, ClusterSecretError};
///
/// let secret = ClusterSecret::fresh();
/// let text = secret.reveal();
/// assert!(text.parse::<ClusterSecret>().is_ok());
/// assert!(matches!(text[..80].parse::<ClusterSecret>(), Err(ClusterSecretError::Length(65))));
/// assert!(matches!("hunter2".parse::<ClusterSecret>(), Err(ClusterSecretError::Prefix)));
/// ```
#[derive(Clone)]
pub struct ClusterSecret([u8; BYTES]);

/// Why there is no secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterSecretError {
    /// It does not begin as one.
    Prefix,
    /// It has another number of characters after that than 72.
    Length(usize),
    /// A character there is not a hex digit.
    NotHex,
    /// A character is another than it was when it was made.
    Mistyped,
    /// Its file cannot be read, or others may read it.
    File(IdentityError),
}

impl fmt::Display for ClusterSecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterSecretError::Prefix => {
                write!(f, "not a cluster's secret: 'killick secret' makes one, {PREFIX}…")
            }
            ClusterSecretError::Length(length) => {
                write!(f, "a cluster's secret has {DIGITS} hex digits after {PREFIX}, not {length}")
            }
            ClusterSecretError::NotHex => {
                write!(f, "a cluster's secret has hex digits after {PREFIX}, and nothing else")
            }
            ClusterSecretError::Mistyped => f.write_str("a character of the secret is wrong"),
            ClusterSecretError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClusterSecretError {}

impl ClusterSecret {
    /// A secret that nobody has yet.
    ///
    /// # Panics
    /// The system has no random numbers.
    pub fn fresh() -> Self {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).expect("random numbers of the system");
        ClusterSecret(bytes)
    }

    /// Reads the secret in the file at `path`, which must be for its owner alone.
    ///
    /// # Errors
    /// It cannot be read, others may read it, or it holds something else.
    pub fn load(path: &Path) -> Result<Self, ClusterSecretError> {
        read_private(path).map_err(ClusterSecretError::File)?.parse()
    }

    /// Its text.
    pub fn reveal(&self) -> String {
        let sum = self.sum();
        let bytes = self.0.iter().chain(&sum);
        bytes.fold(PREFIX.to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// The key of the authority of `cluster`, which each of its hosts has.
    pub(super) fn authority(&self, cluster: &str) -> Result<KeyPair, rcgen::Error> {
        let secret =
            derive(b"killick cluster secret", &self.0, &[b"authority", cluster.as_bytes()]);
        pki::key_of(&secret)
    }

    fn sum(&self) -> [u8; SUM] {
        let mut sum = [0; SUM];
        sum.copy_from_slice(&digest(&SHA256, &self.0).as_ref()[..SUM]);
        sum
    }
}

/// Not the secret.
impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret")
    }
}

impl FromStr for ClusterSecret {
    type Err = ClusterSecretError;

    /// Reads its text; white space around it is left out.
    fn from_str(text: &str) -> Result<Self, ClusterSecretError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(ClusterSecretError::Prefix)?;
        let digits: Option<Vec<_>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.ok_or(ClusterSecretError::NotHex)?;
        if digits.len() != DIGITS {
            return Err(ClusterSecretError::Length(digits.len()));
        }
        let mut bytes = [0; BYTES + SUM];
        for (byte, digits) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = digits.iter().fold(0, |value, digit| value << 4 | *digit as u8);
        }
        let mut secret = ClusterSecret([0; BYTES]);
        secret.0.copy_from_slice(&bytes[..BYTES]);
        match secret.sum() == bytes[BYTES..] {
            true => Ok(secret),
            false => Err(ClusterSecretError::Mistyped),
        }
    }
}

/// 32 bytes for one purpose, which tell nothing of `secret` (HKDF, RFC 5869).
pub(super) fn derive(salt: &[u8], secret: &[u8], purpose: &[&[u8]]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let key = Salt::new(HKDF_SHA256, salt).extract(secret);
    let filled = key.expand(purpose, HKDF_SHA256).and_then(|output| output.fill(&mut bytes));
    filled.expect("as long as what is asked for");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_read_as_it_is_written_and_a_mistyped_one_is_none() {
        let secret = ClusterSecret::fresh();
        let text = secret.reveal();
        let read = |text: &str| text.parse::<ClusterSecret>();
        assert_eq!(read(&format!("{text}\n")).expect("a secret").0, secret.0);
        assert_ne!(ClusterSecret::fresh().0, secret.0);
        assert!(!format!("{secret:?}").contains(&text[PREFIX.len()..]));
        assert!(matches!(read(""), Err(ClusterSecretError::Prefix)));
        assert!(matches!(read("0123"), Err(ClusterSecretError::Prefix)));
        assert!(matches!(read(PREFIX), Err(ClusterSecretError::Length(0))));
        assert!(matches!(read(&format!("{text}0")), Err(ClusterSecretError::Length(73))));
        assert!(matches!(read(&text.replacen('-', "=", 3)), Err(ClusterSecretError::Prefix)));
        assert!(matches!(read(&format!("{}é", &text[..85])), Err(ClusterSecretError::NotHex)));
        for at in PREFIX.len()..text.len() {
            let mut mistyped = text.clone().into_bytes();
            mistyped[at] = if mistyped[at] == b'0' { b'1' } else { b'0' };
            let mistyped = String::from_utf8(mistyped).expect("text");
            assert!(matches!(read(&mistyped), Err(ClusterSecretError::Mistyped)), "{at}");
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        fs::write(&path, ClusterSecret::fresh().reveal()).expect("written");
        let mode =
            |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        mode(0o644);
        let error = ClusterSecret::load(&path).expect_err("open");
        assert!(matches!(error, ClusterSecretError::File(IdentityError::KeyOpen { .. })));
        mode(0o600);
        ClusterSecret::load(&path).expect("a secret");
    }

    #[test]
    fn each_cluster_and_each_secret_has_an_authority_of_its_own() {
        let (one, other) = (ClusterSecret::fresh(), ClusterSecret::fresh());
        let key = |secret: &ClusterSecret, cluster: &str| {
            secret.authority(cluster).expect("a key").serialize_der()
        };
        assert_eq!(key(&one, "a"), key(&one.clone(), "a"));
        assert_ne!(key(&one, "a"), key(&one, "b"));
        assert_ne!(key(&one, "a"), key(&other, "a"));
    }
}
