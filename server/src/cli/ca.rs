//! `killick ca`: an authority, and what it makes certificates with.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use killick_server::Fingerprint;
use killick_server::pki::{self, FileError, Revoked, Wanted};
use rcgen::{Issuer, KeyPair, PublicKeyData, SanType};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use time::OffsetDateTime;

use super::cert::{self, Details};
use super::error::CliError;
use super::output::Output;
use super::text::shown;

/// The files of an authority's folder.
pub(super) const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca-key.pem";
const REVOKED: &str = "crl.pem";

const AFTER_HELP: &str = "\
An authority is a key, ca-key.pem, and its certificate, ca.pem. Who has the key can make
certificates that your servers and clients take: keep it where none of them runs. Every host and
client has a copy of ca.pem.

A certificate that is revoked stands in the authority's list, crl.pem. The hosts of a cluster that
have a copy of it beside their ca.pem meet no host with such a certificate. Clients are let in, or
not, by the authorized file alone.

Examples:
  killick ca new --out ca
  killick cert host db.example.org 192.0.2.7 --ca ca --out host
  killick cert client alice --ca ca --out alice
  killick ca revoke host --ca ca";

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
    Revoke(Revoke),
}

/// Make the key and the certificate of a new authority.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct New {
    /// The folder to write ca.pem and ca-key.pem to; it is made if it is missing.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,

    /// What the authority is called in its certificates: by default 'killick CA', and the beginning of the
    /// fingerprint of its key.
    ///
    /// Authorities of one name cannot be told apart by a list of revoked certificates.
    #[arg(long, value_parser = cert::text)]
    name: Option<String>,

    /// How long its certificate is valid, and with it all that it signs.
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = cert::days())]
    days: u32,
}

/// Revoke a certificate: make the authority's crl.pem, or add to the one that is there.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Revoke {
    /// The certificate, in PEM, or a folder with one in cert.pem.
    certificate: PathBuf,

    /// The folder of the authority that has signed it.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    ca: PathBuf,
}

impl Ca {
    pub(super) fn run(self, json: bool) -> Result<(), CliError> {
        let mut output = Output::new(json);
        match self.command {
            Command::New(new) => new.run(&mut output)?,
            Command::Revoke(revoke) => revoke.run(&mut output)?,
        }
        output.flush()
    }
}

impl New {
    fn run(self, output: &mut Output) -> Result<(), CliError> {
        let New { out, name, days } = self;
        let key = fresh_key()?;
        let name = name.unwrap_or_else(|| {
            let key = Fingerprint::of_key(&key.subject_public_key_info());
            format!("killick CA {}", key.short())
        });
        let certificate = pki::authority(&name, pki::from_now(days))
            .self_signed(&key)
            .map_err(|error| CliError::failed("ca new", error))?;
        let files = [(KEY, &*key.serialize_pem()), (CERTIFICATE, &*certificate.pem())];
        pki::write_new(&out, &files).map_err(file_error)?;
        let (certificate, key) = (out.join(CERTIFICATE), out.join(KEY));
        let ends = Details::read(&certificate)?.ends();
        if output.is_json() {
            return output.line(json!({
                "certificate": certificate.display().to_string(),
                "key": key.display().to_string(),
                "ends": ends,
            }));
        }
        output.line(format!("certificate  {}", certificate.display()))?;
        output.line(format!("key          {}: keep it to yourself", key.display()))?;
        output.line(format!("ends         {ends}"))
    }
}

impl Revoke {
    fn run(self, output: &mut Output) -> Result<(), CliError> {
        let Revoke { certificate, ca } = self;
        let authority = Authority::load(&ca)?;
        let certificate = cert::in_folder(certificate);
        let details = Details::read(&certificate)?;
        let failed =
            |why: &dyn fmt::Display| CliError::failed(certificate.display().to_string(), why);
        if details.authority {
            return Err(failed(&"an authority's: take it out of every ca.pem instead"));
        }
        let signer = ca.join(CERTIFICATE);
        if !cert::is_signed_by(&certificate, &signer)? {
            return Err(failed(&format!("not signed by the authority in {}", signer.display())));
        }
        let mut revoked = authority.revoked(&ca)?;
        let since = revoked.add(&details.serial, OffsetDateTime::now_utc());
        let list = revoked.sign(&authority.issuer).map_err(|error| failed(&error))?;
        pki::replace(&ca, REVOKED, &list).map_err(file_error)?;
        let list = ca.join(REVOKED);
        if output.is_json() {
            return output.line(json!({
                "subject": details.name,
                "fingerprint": details.fingerprint.to_string(),
                "revoked": since.unix_timestamp(),
                "list": list.display().to_string(),
                "count": revoked.count(),
            }));
        }
        output.line(format!("subject      {}", shown(details.name.as_bytes())))?;
        output.line(format!("fingerprint  {}", details.fingerprint))?;
        output.line(format!("revoked      {}", since.date()))?;
        let counts = match details.cluster() {
            Some(_) => "copy it to every host",
            None => {
                "it keeps out hosts of a cluster alone; take this one's line out of the authorized file"
            }
        };
        output.line(format!("list         {}: {counts}", list.display()))
    }
}

/// A new key.
pub(super) fn fresh_key() -> Result<KeyPair, CliError> {
    pki::fresh_key().map_err(|error| CliError::failed("key", error))
}

/// What has become of a file that was to be written.
pub(super) fn file_error(error: FileError) -> CliError {
    CliError::failed(error.path.display().to_string(), error.why())
}

/// What a certificate is to say.
pub(super) struct Says {
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

    /// What it has revoked so far, as the list in its `folder` says.
    fn revoked(&self, folder: &Path) -> Result<Revoked, CliError> {
        let path = folder.join(REVOKED);
        let failed = |error: &dyn fmt::Display| CliError::failed(path.display().to_string(), error);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Revoked::default()),
            Err(error) => return Err(failed(&error)),
        };
        let own = CertificateDer::from_pem_slice(self.pem.as_bytes());
        let own = own.map_err(|error| CliError::failed("ca", error))?;
        Revoked::read(&text, &own).map_err(|error| failed(&error))
    }

    /// The certificate for `key`, in PEM. It does not outlive the authority's own.
    pub(super) fn sign(&self, says: Says, key: &KeyPair) -> Result<String, CliError> {
        let Says { name, at, serves, days } = says;
        let (from, to) = pki::from_now(days);
        let wanted = Wanted { name, at, serves, valid: (from, to.min(self.end)) };
        let signed = pki::sign(wanted, key, &self.issuer);
        signed.map(|signed| signed.pem()).map_err(|error| CliError::failed("cert", error))
    }
}
