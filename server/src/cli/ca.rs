//! `killick ca`: an authority, and what it makes certificates with.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use killick_server::Fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tempfile::NamedTempFile;
use time::{Duration, OffsetDateTime};

use super::cert::Details;
use super::error::CliError;
use super::output::Output;

/// The files of an authority's folder.
pub(super) const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca-key.pem";

const AFTER_HELP: &str = "\
An authority is a key, ca-key.pem, and its certificate, ca.pem. Who has the key can make certificates
that your servers and clients take: keep it where none of them runs. Every host and client has a copy
of ca.pem.

Examples:
  killick ca new --out ca
  killick cert host db.example.org 192.0.2.7 --ca ca --out host
  killick cert client alice --ca ca --out alice";

/// Make an authority, which signs the certificates of hosts and clients.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Ca {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(New),
}

/// Make the key and the certificate of a new authority.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct New {
    /// The folder to write ca.pem and ca-key.pem to; it is made if it is missing.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,

    /// What the authority is called in its certificates.
    #[arg(long, default_value = "killick CA", value_parser = super::cert::text)]
    name: String,

    /// How long its certificate is valid, and with it all that it signs.
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = super::cert::days())]
    days: u32,
}

impl Ca {
    pub(super) fn run(self, json: bool) -> Result<(), CliError> {
        let Command::New(New { out, name, days }) = self.command;
        let key = fresh_key()?;
        let certificate = authority(&name, days)
            .self_signed(&key)
            .map_err(|error| CliError::failed("ca new", error))?;
        write_new(&out, &[(KEY, &key.serialize_pem()), (CERTIFICATE, &certificate.pem())])?;
        let (certificate, key) = (out.join(CERTIFICATE), out.join(KEY));
        let ends = Details::read(&certificate)?.ends();
        let mut output = Output::new(json);
        if json {
            output.line(json!({
                "certificate": certificate.display().to_string(),
                "key": key.display().to_string(),
                "ends": ends,
            }))?;
        } else {
            output.line(format!("certificate  {}", certificate.display()))?;
            output.line(format!("key          {}: keep it to yourself", key.display()))?;
            output.line(format!("ends         {ends}"))?;
        }
        output.flush()
    }
}

/// What an authority's certificate says: it may sign those of hosts and clients, and no other authority's.
fn authority(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = called(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = from_now(days);
    params
}

fn called(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From now, and some time before it, as clocks differ, for so many days.
fn from_now(days: u32) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - Duration::HOUR, now + Duration::days(days.into()))
}

/// A new ed25519 key, as PKCS#8 in its first version: OpenSSL 3.0, and with it Python, reads no other.
pub(super) fn fresh_key() -> Result<KeyPair, CliError> {
    /// What such a key begins with; 32 random bytes follow.
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let mut der = [0; 48];
    der[..HEAD.len()].copy_from_slice(&HEAD);
    let failed = |error: &dyn fmt::Display| CliError::failed("key", error);
    SystemRandom::new().fill(&mut der[HEAD.len()..]).map_err(|error| failed(&error))?;
    KeyPair::try_from(&der[..]).map_err(|error| failed(&error))
}

/// What a certificate is to say.
pub(super) struct Wanted {
    pub(super) name: String,
    /// The names and addresses of a server.
    pub(super) at: Vec<SanType>,
    /// Whether it is for servers as well as for clients.
    pub(super) serves: bool,
    pub(super) days: u32,
}

/// An authority as it lies in its folder.
pub(super) struct Authority {
    /// Its certificate, as the file has it.
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
    end: OffsetDateTime,
}

impl Authority {
    /// Reads the authority in `folder`.
    pub(super) fn load(folder: &Path) -> Result<Self, CliError> {
        let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
        let failed = |path: &Path, error: &dyn fmt::Display| {
            CliError::failed(path.display().to_string(), error)
        };
        let pem = fs::read_to_string(&certificate).map_err(|error| failed(&certificate, &error))?;
        let details = Details::read(&certificate)?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| failed(&certificate, &error))?;
        let mode = fs::metadata(&key).map_err(|error| failed(&key, &error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let why = format!("others may use this key (mode {:04o}, wanted 0600)", mode & 0o777);
            return Err(failed(&key, &why));
        }
        let text = fs::read_to_string(&key).map_err(|error| failed(&key, &error))?;
        let pair = KeyPair::from_pem(&text).map_err(|error| failed(&key, &error))?;
        if Fingerprint::of_key(&pair.subject_public_key_info()) != details.fingerprint {
            return Err(failed(&key, &format!("not the key of {}", certificate.display())));
        }
        if !details.authority {
            return Err(failed(&certificate, &"the certificate is no authority's"));
        }
        let issuer = Issuer::from_ca_cert_der(&der, pair);
        let issuer = issuer.map_err(|error| failed(&certificate, &error))?;
        let end = details.end;
        if end <= OffsetDateTime::now_utc() {
            return Err(failed(&certificate, &format!("it has ended on {}", end.date())));
        }
        Ok(Authority { pem, issuer, end })
    }

    /// Whether it is among the authorities in the file at `path`: those of its name and its key.
    pub(super) fn is_in(&self, path: &Path) -> Result<bool, CliError> {
        let mut trusted = RootCertStore::empty();
        let failed = |error: &dyn fmt::Display| CliError::failed(path.display().to_string(), error);
        let text = fs::read(path).map_err(|error| failed(&error))?;
        for der in CertificateDer::pem_slice_iter(&text) {
            let der = der.map_err(|error| failed(&error))?;
            trusted.add(der).map_err(|error| failed(&error))?;
        }
        let mut own = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(self.pem.as_bytes());
        own.add(der.map_err(|error| CliError::failed("ca", error))?)
            .map_err(|error| CliError::failed("ca", error))?;
        Ok(own.roots.iter().all(|root| trusted.roots.contains(root)))
    }

    /// The certificate for `key`, in PEM. It does not outlive the authority's own.
    pub(super) fn sign(&self, wanted: Wanted, key: &KeyPair) -> Result<String, CliError> {
        let Wanted { name, at, serves, days } = wanted;
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
        let (from, to) = from_now(days);
        (params.not_before, params.not_after) = (from, to.min(self.end));
        let signed = params.signed_by(key, &self.issuer);
        signed.map(|signed| signed.pem()).map_err(|error| CliError::failed("cert", error))
    }
}

/// A serial number that no other certificate has.
fn fresh_serial() -> Result<SerialNumber, CliError> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|error| CliError::failed("serial number", error))?;
    // Positive, and as long as it says.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Writes files that are not there yet, for this user alone, into `folder`, which is made if it is
/// missing. None that is there is changed, and after an error none of them is there.
pub(super) fn write_new(folder: &Path, files: &[(&str, &str)]) -> Result<(), CliError> {
    let failed =
        |path: &Path, error: &dyn fmt::Display| CliError::failed(path.display().to_string(), error);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| failed(folder, &error))?;
    let there = files.iter().map(|(name, _)| folder.join(name)).find(|path| path.exists());
    if let Some(path) = there {
        return Err(failed(&path, &"already there, and not overwritten"));
    }
    // What takes room on the disk is done before any of them has its name.
    let mut written = Vec::with_capacity(files.len());
    for (name, text) in files {
        let path = folder.join(name);
        let file = write(folder, text).map_err(|error| failed(&path, &error))?;
        written.push((path, file));
    }
    let mut kept = Vec::with_capacity(files.len());
    for (path, file) in written {
        if let Err(error) = file.persist_noclobber(&path) {
            // What went wrong first is what is told.
            kept.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(failed(&path, &error.error));
        }
        kept.push(path);
    }
    Ok(())
}

/// Puts `text` into the place of what `folder` has as `name`, as a whole.
pub(super) fn replace(folder: &Path, name: &str, text: &str) -> Result<(), CliError> {
    let path = folder.join(name);
    let failed = |error: &dyn fmt::Display| CliError::failed(path.display().to_string(), error);
    let written = write(folder, text).map_err(|error| failed(&error))?;
    written.persist(&path).map(drop).map_err(|error| failed(&error.error))
}

/// A file without a name to keep yet; it is for this user alone.
fn write(folder: &Path, text: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_which_one_cannot_be_kept_are_all_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [("key.pem", "key"), ("cert.pem", "cert"), ("nowhere/ca.pem", "ca")];
        let error = write_new(folder.path(), &files).expect_err("no such folder");
        assert!(error.to_string().contains("nowhere/ca.pem: "), "{error}");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
        write_new(folder.path(), &files[..2]).expect("again");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 2);
    }

    #[test]
    fn a_key_is_pkcs8_in_its_first_version_and_each_is_another() {
        let (one, other) = (fresh_key().expect("a key"), fresh_key().expect("a key"));
        // The second version holds the public half as well.
        assert_eq!(one.serialized_der().len(), 48);
        assert_ne!(one.serialized_der(), other.serialized_der());
        assert_ne!(one.subject_public_key_info(), other.subject_public_key_info());
    }
}
