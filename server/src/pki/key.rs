//! Keys.

use rcgen::KeyPair;
use ring::rand::{SecureRandom, SystemRandom};

/// What an ed25519 key begins with; its 32 secret bytes follow.
const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The ed25519 key with these secret bytes, as PKCS#8 in its first version: OpenSSL 3.0, and with it Python,
/// reads no other.
pub fn key_of(secret: &[u8; 32]) -> Result<KeyPair, rcgen::Error> {
    let mut der = [0; 48];
    der[..HEAD.len()].copy_from_slice(&HEAD);
    der[HEAD.len()..].copy_from_slice(secret);
    KeyPair::try_from(&der[..])
}

/// A new key.
pub fn fresh_key() -> Result<KeyPair, rcgen::Error> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).map_err(|_| rcgen::Error::RingUnspecified)?;
    key_of(&secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData;

    #[test]
    fn a_key_is_pkcs8_in_its_first_version_and_each_is_another() {
        let (one, other) = (fresh_key().expect("a key"), fresh_key().expect("a key"));
        // The second version holds the public half as well.
        assert_eq!(one.serialized_der().len(), 48);
        assert_ne!(one.serialized_der(), other.serialized_der());
        assert_ne!(one.subject_public_key_info(), other.subject_public_key_info());
    }
}
