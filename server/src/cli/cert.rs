//! `killick cert`: certificates, and the folders that they lie in.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::builder::RangedI64ValueParser;
use clap::{Args, Subcommand};
use killick_server::{Fingerprint, pki};
use rcgen::{KeyPair, PublicKeyData, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::ca::{self, Authority, Says};
use super::error::CliError;
use super::output::Output;
use super::target::Grammar;
use super::text::shown;

/// The files of an identity's folder, besides the authority's certificate.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

const AFTER_HELP: &str = "\
'host' and 'client' make a folder: key.pem, a new key that stays where it is used; cert.pem, its
certificate; ca.pem, a copy of the authority's. A server takes it as --tls-identity, a client as
--identity. To change from one authority to another, let ca.pem hold both for some time.

With --cluster a host's certificate has two more names, <id>.host.CLUSTER.killick.internal and
host.CLUSTER.killick.internal: by those the hosts of a cluster know each other. Its id is the
first half of its key's fingerprint. One folder serves both.

A key is known by its fingerprint: the SHA-256 of its public half as certificates hold it
(SubjectPublicKeyInfo). A certificate that is renewed keeps it. The same by other means:
  openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum

Examples:
  killick ca new --out ca
  killick cert host db.example.org 192.0.2.7 --ca ca --out host
  killick cert host db.example.org --cluster prod --ca ca --out host
  killick cert client alice --ca ca --out alice
  killick cert show alice
  killick cert renew alice --ca ca";

/// Make and show the certificates of hosts and clients.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Cert {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Host(Host),
    Client(Client),
    Renew(Renew),
    Show(Show),
}

/// Where a certificate comes from and how long it is valid.
#[derive(Args)]
struct Issue {
    /// The folder of the authority, as 'killick ca new' makes it.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    ca: PathBuf,

    /// How long it is valid, but not for longer than the authority's own.
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = days())]
    days: u32,
}

/// Make the key and the certificate of a host, which may serve, and connect to others.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Host {
    /// The host's names and IP addresses: all that stand in the addresses that clients connect to.
    #[arg(value_name = "NAME", required_unless_present = "cluster", value_parser = server_name)]
    names: Vec<ServerName<'static>>,

    /// The cluster that it is a host of, if it is to be one.
    #[arg(long, value_name = "NAME", value_parser = cluster)]
    cluster: Option<String>,

    /// The folder to write to; it is made if it is missing.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    #[command(flatten)]
    issue: Issue,
}

/// Make the key and the certificate of a client, which may connect, and not serve.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Client {
    /// Who it is: for people to read, and the default of --root.
    #[arg(value_name = "NAME", value_parser = client_name)]
    name: String,

    /// The folder to write to; it is made if it is missing.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    /// The path of the anchor that the printed line for the authorized file gives it: '/NAME' by default,
    /// and '/' is the whole host.
    #[arg(long, value_name = "PATH", value_parser = root)]
    root: Option<String>,

    #[command(flatten)]
    issue: Issue,
}

/// Make a new certificate for the key in a folder, which says the same as the one there, and replace that.
///
/// The authority has to be one that the folder's ca.pem holds, and that has signed the certificate there:
/// what somebody else has put into the folder is not signed.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Renew {
    /// The folder of the host or client.
    folder: PathBuf,

    /// The folder of the authority that has signed the certificate so far, if it is another one than that
    /// of --ca.
    #[arg(long, value_name = "FOLDER")]
    signed_by: Option<PathBuf>,

    #[command(flatten)]
    issue: Issue,
}

/// Show what a certificate says: whose it is, what for, until when, and the fingerprint of its key.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
struct Show {
    /// The certificate, in PEM, or a folder with one in cert.pem or ca.pem.
    file: PathBuf,
}

impl Cert {
    pub(super) fn run(self, json: bool) -> Result<(), CliError> {
        let mut output = Output::new(json);
        match self.command {
            Command::Host(host) => host.run(&mut output)?,
            Command::Client(client) => client.run(&mut output)?,
            Command::Renew(renew) => renew.run(&mut output)?,
            Command::Show(show) => {
                Details::read(&in_folder(show.file))?.tell(&mut output, None)?;
            }
        }
        output.flush()
    }
}

impl Issue {
    /// Writes `key` and a certificate for it to `folder`; what that says.
    fn make(&self, folder: &Path, key: &KeyPair, says: Says) -> Result<Details, CliError> {
        let authority = Authority::load(&self.ca)?;
        let certificate = authority.sign(says, key)?;
        let key = key.serialize_pem();
        let files =
            [(KEY, &*key), (CERTIFICATE, &*certificate), (ca::CERTIFICATE, &*authority.pem)];
        pki::write_new(folder, &files).map_err(ca::file_error)?;
        Details::read(&folder.join(CERTIFICATE))
    }
}

impl Host {
    fn run(self, output: &mut Output) -> Result<(), CliError> {
        let Host { mut names, cluster, out, issue } = self;
        let key = ca::fresh_key()?;
        let id = pki::host_id(&Fingerprint::of_key(&key.subject_public_key_info()));
        let name = names.first().map_or_else(|| id.clone(), |name| name.to_str().into_owned());
        if let Some(cluster) = cluster {
            for own in [pki::host(&id, &cluster), pki::any_host(&cluster)] {
                names.push(server_name(&own).map_err(|why| CliError::usage(own, why))?);
            }
        }
        let at: Result<_, _> = names.iter().map(alternative).collect();
        let says = Says { name, at: at?, serves: true, days: issue.days };
        issue.make(&out, &key, says)?.tell(output, None)
    }
}

impl Client {
    fn run(self, output: &mut Output) -> Result<(), CliError> {
        let Client { name, out, root, issue } = self;
        let root = root.unwrap_or_else(|| format!("/{name}"));
        let says = Says { name, at: Vec::new(), serves: false, days: issue.days };
        issue.make(&out, &ca::fresh_key()?, says)?.tell(output, Some(&root))
    }
}

impl Renew {
    fn run(self, output: &mut Output) -> Result<(), CliError> {
        let Renew { folder, signed_by, issue } = self;
        let (path, authority) = (folder.join(KEY), Authority::load(&issue.ca)?);
        let failed = |error: &dyn fmt::Display| CliError::failed(path.display().to_string(), error);
        let trusted = folder.join(ca::CERTIFICATE);
        if !authority.is_in(&trusted)? {
            let why = format!(
                "it does not hold the authority in {}: renew with the one that is in it, or, to \
                 change to another, append {} to it first, and to that of all that this one meets",
                issue.ca.display(),
                issue.ca.join(ca::CERTIFICATE).display()
            );
            return Err(CliError::failed(trusted.display().to_string(), why));
        }
        let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
        let key = KeyPair::from_pem(&text).map_err(|error| failed(&error))?;
        let before = folder.join(CERTIFICATE);
        let signer = signed_by.unwrap_or_else(|| issue.ca.clone()).join(ca::CERTIFICATE);
        if !is_signed_by(&before, &signer)? {
            let why = format!("not signed by the authority in {}", signer.display());
            return Err(CliError::failed(before.display().to_string(), why));
        }
        let Details { name, at, serves, fingerprint, .. } = Details::read(&before)?;
        if Fingerprint::of_key(&key.subject_public_key_info()) != fingerprint {
            return Err(failed(&format!("not the key of {}", before.display())));
        }
        let at: Result<_, _> = at.iter().map(alternative).collect();
        let says = Says { name, at: at?, serves, days: issue.days };
        let certificate = authority.sign(says, &key)?;
        pki::replace(&folder, CERTIFICATE, &certificate).map_err(ca::file_error)?;
        Details::read(&folder.join(CERTIFICATE))?.tell(output, None)
    }
}

/// The certificate's file, if `path` is a folder with one.
pub(super) fn in_folder(path: PathBuf) -> PathBuf {
    let found = [CERTIFICATE, ca::CERTIFICATE].map(|name| path.join(name));
    found.into_iter().find(|path| path.is_file()).unwrap_or(path)
}

/// What a certificate says.
pub(super) struct Details {
    pub(super) name: String,
    issuer: String,
    at: Vec<ServerName<'static>>,
    serves: bool,
    connects: bool,
    pub(super) authority: bool,
    /// Its number among those of its authority.
    pub(super) serial: Vec<u8>,
    begin: OffsetDateTime,
    pub(super) end: OffsetDateTime,
    pub(super) fingerprint: Fingerprint,
}

impl Details {
    /// Those of the first certificate in the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let failed = |error: &dyn fmt::Display| CliError::failed(path.display().to_string(), error);
        let text = fs::read(path).map_err(|error| failed(&error))?;
        let none = "no certificate in PEM";
        let der = CertificateDer::from_pem_slice(&text).map_err(|_| failed(&none))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| failed(&none))?;
        Details::of(&der, &parsed).ok_or_else(|| failed(&"the certificate makes no sense"))
    }

    /// The host's id and its cluster, if it is one of one.
    pub(super) fn cluster(&self) -> Option<(String, String)> {
        let at: Vec<_> = self.at.iter().map(ServerName::to_str).collect();
        let (id, cluster) = pki::cluster_of(&self.fingerprint, at.iter().map(AsRef::as_ref))?;
        Some((id, cluster.to_owned()))
    }

    fn of(der: &CertificateDer<'_>, parsed: &X509Certificate<'_>) -> Option<Self> {
        let common = |name: &x509_parser::x509::X509Name<'_>| {
            let name = name.iter_common_name().next().and_then(|name| name.as_str().ok());
            name.unwrap_or_default().to_owned()
        };
        let time = |time: x509_parser::time::ASN1Time| {
            OffsetDateTime::from_unix_timestamp(time.timestamp()).ok()
        };
        let usage = parsed.extended_key_usage().ok()?.map(|found| found.value);
        let names = parsed.subject_alternative_name().ok()?;
        let names = names.map(|found| found.value.general_names.iter()).into_iter().flatten();
        Some(Details {
            name: common(parsed.subject()),
            issuer: common(parsed.issuer()),
            at: names.filter_map(alternative_name).collect(),
            serves: usage.is_some_and(|usage| usage.server_auth),
            connects: usage.is_some_and(|usage| usage.client_auth),
            authority: parsed.is_ca(),
            serial: parsed.raw_serial().to_owned(),
            begin: time(parsed.validity().not_before)?,
            end: time(parsed.validity().not_after)?,
            fingerprint: Fingerprint::of(der)?,
        })
    }

    /// The day on which it ends.
    pub(super) fn ends(&self) -> String {
        self.end.date().to_string()
    }

    fn warning(&self) -> Option<String> {
        let validity = pki::Validity { begin: self.begin, end: self.end };
        Some(format!("it {}", validity.at(OffsetDateTime::now_utc())?))
    }

    /// Prints them, and the line that gives the key `root`.
    fn tell(&self, output: &mut Output, root: Option<&str>) -> Result<(), CliError> {
        let line = root.map(|root| format!("{} {root} # {}", self.fingerprint, self.name));
        let at: Vec<_> = self.at.iter().map(|name| name.to_str().into_owned()).collect();
        let cluster = self.cluster();
        let roles = [(self.serves, "serve"), (self.connects, "connect"), (self.authority, "sign")];
        let roles: Vec<_> =
            roles.into_iter().filter_map(|(may, what)| may.then_some(what)).collect();
        if output.is_json() {
            return output.line(json!({
                "subject": self.name,
                "issuer": self.issuer,
                "names": at,
                "may": roles,
                "begins": self.begin.unix_timestamp(),
                "ends": self.end.unix_timestamp(),
                "warning": self.warning(),
                "fingerprint": self.fingerprint.to_string(),
                "host": cluster.as_ref().map(|(id, _)| id),
                "cluster": cluster.as_ref().map(|(_, cluster)| cluster),
                "authorized": line,
            }));
        }
        output.line(format!("subject      {}", shown(self.name.as_bytes())))?;
        output.line(format!("issuer       {}", shown(self.issuer.as_bytes())))?;
        if !at.is_empty() {
            output.line(format!("names        {}", at.join(", ")))?;
        }
        output.line(format!("may          {}", roles.join(", ")))?;
        output.line(format!("valid        {} to {}", self.begin.date(), self.end.date()))?;
        if let Some(warning) = self.warning() {
            output.line(format!("warning      {warning}"))?;
        }
        output.line(format!("fingerprint  {}", self.fingerprint))?;
        if let Some((id, cluster)) = cluster {
            output.line(format!("host id      {id}"))?;
            output.line(format!("cluster      {cluster}"))?;
        }
        match line {
            Some(line) => output.line(format!("authorized   {line}")),
            None => Ok(()),
        }
    }
}

/// Whether the certificate at `path` was signed with the key of the one at `signer`.
pub(super) fn is_signed_by(path: &Path, signer: &Path) -> Result<bool, CliError> {
    let read = |path: &Path| {
        let failed = |error: &dyn fmt::Display| CliError::failed(path.display().to_string(), error);
        let text = fs::read(path).map_err(|error| failed(&error))?;
        CertificateDer::from_pem_slice(&text).map_err(|_| failed(&"no certificate in PEM"))
    };
    let (certificate, authority) = (read(path)?, read(signer)?);
    let signed = |der| X509Certificate::from_der(der).map(|(_, parsed)| parsed).ok();
    let (Some(certificate), Some(authority)) = (signed(&certificate), signed(&authority)) else {
        return Ok(false);
    };
    Ok(certificate.issuer() == authority.subject()
        && certificate.verify_signature(Some(authority.public_key())).is_ok())
}

/// A name of a server's as certificates hold it.
fn alternative(name: &ServerName<'_>) -> Result<SanType, CliError> {
    match name {
        ServerName::IpAddress(ip) => Ok(SanType::IpAddress(IpAddr::from(*ip))),
        name => {
            let name = name.to_str();
            let kept = name.as_ref().try_into().map(SanType::DnsName);
            kept.map_err(|error: rcgen::Error| CliError::usage(name.into_owned(), error))
        }
    }
}

/// The same from a certificate; other kinds of names there are no addresses.
fn alternative_name(name: &GeneralName<'_>) -> Option<ServerName<'static>> {
    match name {
        GeneralName::DNSName(name) => ServerName::try_from((*name).to_owned()).ok(),
        GeneralName::IPAddress(bytes) => {
            let ip = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let ip = ip.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            ip.ok().map(|ip| ServerName::IpAddress(ip.into()))
        }
        _ => None,
    }
}

/// What reads a number of days.
pub(super) fn days() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    ServerName::try_from(bare.to_owned()).map_err(|_| "neither a DNS name nor an IP address".into())
}

/// A name in a certificate: no more than these hold.
pub(super) fn text(text: &str) -> Result<String, String> {
    const LONGEST: usize = 64;
    match text {
        "" => Err("a name is needed".into()),
        _ if text.len() > LONGEST => Err(format!("longer than {LONGEST} bytes")),
        _ if text.contains(char::is_control) => Err("a control character in a name".into()),
        _ => Ok(text.to_owned()),
    }
}

/// A client's name, which is one in a path as well.
fn client_name(name: &str) -> Result<String, String> {
    let name = text(name)?;
    Grammar::new().check(name.as_bytes()).map_err(|error| error.to_string())?;
    match name.contains('/') || name == "." {
        true => Err("a client's name is a single name of a path".into()),
        false => Ok(name),
    }
}

fn cluster(name: &str) -> Result<String, String> {
    pki::check_cluster(name).map(|()| name.to_owned()).map_err(|error| error.to_string())
}

fn root(path: &str) -> Result<String, String> {
    Grammar::new().check(path.as_bytes()).map_err(|error| error.to_string())?;
    match path.starts_with('/') {
        true => Ok(path.to_owned()),
        false => Err("it does not begin with '/'".into()),
    }
}
