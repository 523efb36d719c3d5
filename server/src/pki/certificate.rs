//! What certificates say.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use time::{Duration, OffsetDateTime};

/// The end of what has none: the last second of the year 9999 (RFC 5280, 4.1.2.5).
pub const NEVER: OffsetDateTime = match OffsetDateTime::from_unix_timestamp(253_402_300_799) {
    Ok(end) => end,
    Err(_) => unreachable!(),
};

/// What a certificate is to say.
pub struct Wanted {
    /// Who it is for.
    pub name: String,
    /// The names and addresses of a server.
    pub at: Vec<SanType>,
    /// Whether it is for servers as well as for clients.
    pub serves: bool,
    /// From when to when it is valid.
    pub valid: (OffsetDateTime, OffsetDateTime),
}

/// What an authority's certificate says: it may sign those of hosts and clients, and no other authority's.
pub fn authority(name: &str, valid: (OffsetDateTime, OffsetDateTime)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = called(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = valid;
    params
}

/// The certificate for `key`.
pub fn sign(
    wanted: Wanted,
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<Certificate, rcgen::Error> {
    let Wanted { name, at, serves, valid } = wanted;
    let mut params = CertificateParams::default();
    params.distinguished_name = called(&name);
    params.serial_number = Some(fresh_serial()?);
    params.subject_alt_names = at;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if serves {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    // Python, from 3.13 on, takes no certificate without it.
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = valid;
    params.signed_by(key, issuer)
}

/// From now, and some time before it, as clocks differ, for so many days.
pub fn from_now(days: u32) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - Duration::HOUR, now + Duration::days(days.into()))
}

fn called(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// A serial number that no other certificate has.
fn fresh_serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    // Positive, and as long as it says.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
