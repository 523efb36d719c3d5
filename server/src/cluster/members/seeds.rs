//! Where the first others may be found.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::time::timeout;

#[cfg(feature = "mdns")]
use crate::cluster::lan::Lan;

/// What stands for the hosts on this network.
const LAN: &str = "mdns";

/// Where others may be found: looked up again each time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seed {
    /// An address.
    Address(SocketAddr),
    /// A name and a port, as in `hosts.example.org:7300`: all of its addresses.
    Name(String),
    /// A file of such lines; `#` begins a comment.
    File(PathBuf),
    /// Whoever on the same network says by multicast DNS to be of this cluster. This host says so, too.
    #[cfg(feature = "mdns")]
    Lan,
}

/// Why a text is no [`Seed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSeed(String);

impl fmt::Display for BadSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        if text == LAN && cfg!(not(feature = "mdns")) {
            return write!(f, "{LAN}: this program was built without it (the cargo feature mdns)");
        }
        if text.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(0u16)) {
            return write!(f, "{text:?}: nobody is at port 0: give that of its --listen-cluster");
        }
        write!(f, "{text:?} says no place of a host: give ADDRESS:PORT, NAME:PORT or file:PATH")
    }
}

impl std::error::Error for BadSeed {}

impl FromStr for Seed {
    type Err = BadSeed;

    fn from_str(text: &str) -> Result<Self, BadSeed> {
        #[cfg(feature = "mdns")]
        if text == LAN {
            return Ok(Seed::Lan);
        }
        match text.strip_prefix("file:") {
            Some("") => Err(BadSeed(text.to_owned())),
            Some(path) => Ok(Seed::File(path.into())),
            None => place(text),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seed::Address(at) => write!(f, "{at}"),
            Seed::Name(name) => write!(f, "{name}"),
            Seed::File(path) => write!(f, "file:{}", path.display()),
            #[cfg(feature = "mdns")]
            Seed::Lan => f.write_str(LAN),
        }
    }
}

/// An address, or a name and a port.
fn place(text: &str) -> Result<Seed, BadSeed> {
    let bad = || BadSeed(text.to_owned());
    if let Ok(at) = text.parse::<SocketAddr>() {
        return if at.port() == 0 { Err(bad()) } else { Ok(Seed::Address(at)) };
    }
    let (name, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let named = !name.is_empty() && name.len() < 254 && name.bytes().all(letter);
    if !named || !matches!(port.parse::<u16>(), Ok(1..)) {
        return Err(bad());
    }
    Ok(Seed::Name(text.to_owned()))
}

/// The longest file that is read.
const MAX_FILE: u64 = 64 << 10;
/// As many addresses are tried in one round, of all seeds together.
const MAX_ADDRESSES: usize = 256;
/// How long it may take to look up a name.
const LOOKUP: Duration = Duration::from_secs(5);

/// The seeds of a host, and what it takes to look them up.
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    #[cfg(feature = "mdns")]
    lan: Option<Lan>,
}

impl From<Vec<Seed>> for Seeds {
    /// Without [`Seed::Lan`], which stands for nobody then.
    fn from(seeds: Vec<Seed>) -> Self {
        Seeds {
            seeds,
            #[cfg(feature = "mdns")]
            lan: None,
        }
    }
}

impl Seeds {
    /// What [`Seed::Lan`] stands for.
    #[cfg(feature = "mdns")]
    pub(crate) fn with(self, lan: Lan) -> Self {
        Seeds { lan: Some(lan), ..self }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    /// The addresses that they stand for at this moment. What cannot be found out is logged, and left out.
    pub(crate) async fn addresses(&self) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        for seed in &self.seeds {
            match seed {
                Seed::File(path) => find_in(path, &mut found).await,
                #[cfg(feature = "mdns")]
                Seed::Lan => found.extend(self.lan.iter().flat_map(Lan::found)),
                place => find(place, &mut found).await,
            }
        }
        found.sort_unstable();
        found.dedup();
        // From another one on each time, so that none of many is left out for ever.
        let first = RandomState::new().hash_one(found.len()) as usize % found.len().max(1);
        found.rotate_left(first);
        found.truncate(MAX_ADDRESSES);
        found
    }
}

async fn find_in(path: &Path, found: &mut Vec<SocketAddr>) {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&file)).await;
    match read.unwrap_or_else(|error| Err(error.into())) {
        Ok(places) => {
            for place in places {
                find(&place, found).await;
            }
        }
        Err(error) => {
            tracing::warn!(seed = %Seed::File(path.into()), %error, "a seed cannot be read");
        }
    }
}

async fn find(place: &Seed, found: &mut Vec<SocketAddr>) {
    match place {
        Seed::Address(at) => found.push(*at),
        Seed::Name(name) => match timeout(LOOKUP, tokio::net::lookup_host(name)).await {
            Ok(Ok(addresses)) => found.extend(addresses),
            Ok(Err(error)) => tracing::warn!(seed = %name, %error, "a seed cannot be found"),
            Err(_) => tracing::warn!(seed = %name, "a seed cannot be found in {LOOKUP:?}"),
        },
        // No place.
        _ => {}
    }
}

/// The places in a file. A line that says none is logged, and left out.
fn read(path: &Path) -> std::io::Result<Vec<Seed>> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let mut places = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        match place(line) {
            Ok(place) => places.push(place),
            Err(error) => tracing::warn!(file = %path.display(), %error, "a seed is left out"),
        }
    }
    Ok(places)
}
