//! Where a server listens, and where a client finds it.

use std::borrow::Cow;
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The file name of the default socket.
const SOCKET_NAME: &str = "killick.sock";
/// The longest path that fits the address of a Unix socket, its closing zero left out.
const SOCKET_PATH_BYTES: usize = 107;

/// An address to listen on or to connect to: `unix:/path/to/socket`, `tcp:HOST:PORT` or
/// `tls:HOST:PORT`.
///
/// # Examples
/// ```
/// use killick_client::Address;
///
/// let address: Address = "tcp:127.0.0.1:2016".parse()?;
/// assert_eq!(address, Address::Tcp("127.0.0.1:2016".into()));
/// let error = "127.0.0.1:2016".parse::<Address>().unwrap_err();
/// assert!(error.to_string().contains("'tcp:127.0.0.1:2016'"));
/// # Ok::<(), killick_client::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket, by the path of its file.
    Unix(PathBuf),
    /// A TCP socket, as `HOST:PORT`; an IPv6 host stands in brackets.
    Tcp(String),
    /// The same with TLS 1.3 on it, where both sides show a certificate.
    Tls(String),
    /// The connection that a server has given to this process, which it has started. It is there once, and
    /// nothing can listen there. No text is this address.
    Inherited,
}

/// Why a text is not an address, or why there is no default one.
#[derive(Debug)]
#[non_exhaustive]
pub enum AddressError {
    /// The text begins with none of `unix:`, `tcp:` and `tls:`.
    NoScheme {
        /// The text.
        text: String,
    },
    /// The path of a Unix socket is missing or not absolute.
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// The path of a Unix socket is longer than the system's address of one.
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// The most bytes it may have.
        limit: usize,
    },
    /// What follows `tcp:` or `tls:` is not a host and a port.
    BadTcp {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The private folder of the default socket could not be made or examined.
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The folder of the default socket exists but is not a private folder of this user's.
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// In what way it is not.
        reason: String,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::NoScheme { text } => {
                let text = shortened(text);
                write!(f, "address '{text}' begins with none of 'unix:', 'tcp:' and 'tls:'")?;
                match text.starts_with('/') {
                    true => write!(f, "; did you mean 'unix:{text}'?"),
                    false if host_and_port_of("tcp", &text).is_ok() => {
                        write!(f, "; did you mean 'tcp:{text}'?")
                    }
                    false => f.write_str(
                        "; examples: unix:/path/to/socket, tcp:127.0.0.1:2016, tls:host.example:2016",
                    ),
                }
            }
            AddressError::NotAbsolute { path } => {
                write!(f, "socket path '{}' is not absolute", shortened(&path.to_string_lossy()))
            }
            AddressError::PathTooLong { path, limit } => {
                let len = path.as_os_str().len();
                write!(f, "socket path of {len} bytes exceeds the system's limit of {limit}: ")?;
                write!(f, "'{}'", shortened(&path.to_string_lossy()))
            }
            AddressError::BadTcp { text, reason } => {
                let text = shortened(text);
                let scheme = text.split(':').next().unwrap_or("tcp");
                write!(f, "address '{text}': {reason}; example: {scheme}:127.0.0.1:2016")
            }
            AddressError::Folder { path, error } => {
                write!(f, "folder '{}' of the default socket: {error}", path.display())
            }
            AddressError::NotPrivate { path, reason } => {
                write!(f, "folder '{}' of the default socket {reason}: ", path.display())?;
                write!(f, "not used; name a socket by its own address instead")
            }
        }
    }
}

/// A text in a message, cut in the middle if it is far longer than any address.
fn shortened(text: &str) -> Cow<'_, str> {
    const KEPT: usize = 60;
    const LONGEST: usize = 256;
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let head = text.floor_char_boundary(KEPT);
    let tail = text.ceil_char_boundary(text.len() - KEPT);
    Cow::Owned(format!("{}…{} ({} bytes)", &text[..head], &text[tail..], text.len()))
}

impl std::error::Error for AddressError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AddressError::Folder { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(host_and_port) => write!(f, "tcp:{host_and_port}"),
            Address::Tls(host_and_port) => write!(f, "tls:{host_and_port}"),
            Address::Inherited => f.write_str("the connection that this process was given"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            unix(PathBuf::from(path))
        } else if let Some(host_and_port) = text.strip_prefix("tcp:") {
            host_and_port_of("tcp", host_and_port).map(Address::Tcp)
        } else if let Some(host_and_port) = text.strip_prefix("tls:") {
            host_and_port_of("tls", host_and_port).map(Address::Tls)
        } else {
            Err(AddressError::NoScheme { text: text.to_owned() })
        }
    }
}

fn unix(path: PathBuf) -> Result<Address, AddressError> {
    if !path.is_absolute() {
        return Err(AddressError::NotAbsolute { path });
    }
    if path.as_os_str().len() > SOCKET_PATH_BYTES {
        return Err(AddressError::PathTooLong { path, limit: SOCKET_PATH_BYTES });
    }
    Ok(Address::Unix(path))
}

/// What follows `scheme`, checked.
fn host_and_port_of(scheme: &str, text: &str) -> Result<String, AddressError> {
    let bad = |reason| AddressError::BadTcp { text: format!("{scheme}:{text}"), reason };
    let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
    if host.is_empty() {
        return Err(bad("the host is missing"));
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(bad("an IPv6 host stands in brackets, as in [::1]:2016"));
    }
    // The standard library would take a sign as well.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return Err(bad("the port is not a number from 0 to 65535"));
    }
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(ip) = ip.and_then(|ip| ip.parse::<Ipv6Addr>().ok()?.to_ipv4_mapped()) {
        return Ok(format!("{ip}:{port}"));
    }
    Ok(text.to_owned())
}

/// The address that server and client commands use when none is given: the Unix socket
/// `killick.sock` under `$XDG_RUNTIME_DIR`, or else in a folder of this user's in the folder for
/// temporary files (`$TMPDIR` if that is absolute, or else `/tmp`).
///
/// That folder is made if it is missing, with access for this user alone.
///
/// # Errors
/// [`AddressError::NotPrivate`] if the folder belongs to somebody else, is open to others, or is no
/// folder; [`AddressError::Folder`] if it can be neither made nor examined.
pub fn default_address() -> Result<Address, AddressError> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|folder| folder.is_absolute()) {
        Some(folder) => unix(folder.join(SOCKET_NAME)),
        None => {
            let user = rustix::process::geteuid().as_raw();
            // An empty variable is none, and a relative one would be another folder for each program.
            let temporary = Some(env::temp_dir()).filter(|folder| folder.is_absolute());
            let temporary = temporary.unwrap_or_else(|| PathBuf::from("/tmp"));
            let folder = temporary.join(format!("killick-{user}"));
            make_private(&folder, user)?;
            unix(folder.join(SOCKET_NAME))
        }
    }
}

/// Makes `folder` unless it is there, and checks that `user` owns it and nobody else may enter.
fn make_private(folder: &Path, user: u32) -> Result<(), AddressError> {
    let failed = |error| AddressError::Folder { path: folder.to_owned(), error };
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    // Not followed: a link that another user has put there leads to where they please.
    let found = fs::symlink_metadata(folder).map_err(failed)?;
    let mode = found.permissions().mode() & 0o777;
    let reason = if !found.is_dir() {
        "is not a folder".to_owned()
    } else if found.uid() != user {
        format!("belongs to user {}", found.uid())
    } else if mode & 0o077 != 0 {
        format!("is open to others (mode {mode:04o}, wanted 0700)")
    } else {
        return Ok(());
    };
    Err(AddressError::NotPrivate { path: folder.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Address>().expect_err(text).to_string()
    }

    /// A folder for one test, removed when it is dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder =
                env::temp_dir().join(format!("killick-address-{name}-{}", std::process::id()));
            fs::create_dir(&folder).expect("a folder of our own");
            Scratch(folder)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn address_prints_as_it_parses() {
        for text in [
            "unix:/run/k.sock",
            "tcp:127.0.0.1:2016",
            "tcp:[::1]:0",
            "tcp:localhost:1",
            "tls:host.example:2016",
            "tls:[2001:db8::1]:2016",
        ] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn an_ipv4_address_in_the_form_of_ipv6_is_the_ipv4_address() {
        let mapped: Address = "tcp:[::ffff:127.0.0.1]:5".parse().expect("an address");
        assert_eq!(mapped, Address::Tcp("127.0.0.1:5".into()));
    }

    #[test]
    fn address_error_shortens_a_long_text() {
        let long = "é".repeat(5000);
        for text in
            [&long, &format!("unix:/{long}"), &format!("unix:{long}"), &format!("tcp:{long}")]
        {
            assert!(error(text).len() < 800, "{}", error(text));
        }
    }

    #[test]
    fn address_error_says_what_is_wrong_and_offers_the_right_form() {
        assert!(error("/run/k.sock").ends_with("did you mean 'unix:/run/k.sock'?"));
        assert!(error("localhost:2016").ends_with("did you mean 'tcp:localhost:2016'?"));
        assert!(error("here").contains("unix:/path/to/socket"));
        assert!(error("unix:k.sock").contains("not absolute"));
        assert!(error("tcp:2016").contains("the port is missing"));
        assert!(error("tcp::2016").contains("the host is missing"));
        assert!(error("tcp:::1:2016").contains("brackets"));
        assert!(error("tcp:localhost:65536").contains("0 to 65535"));
        assert!(error("tcp:localhost:+5").contains("0 to 65535"));
        assert!(error("tcp:localhost:").contains("0 to 65535"));
        assert!(error("tls:localhost").starts_with("address 'tls:localhost': the port is missing"));
        let long = format!("unix:/{}", "x".repeat(SOCKET_PATH_BYTES));
        assert!(error(&long).contains("108 bytes exceeds the system's limit of 107"));
    }

    #[test]
    fn private_folder_is_made_for_its_user_alone_and_used_again() {
        let scratch = Scratch::new("made");
        let (folder, user) = (scratch.0.join("own"), rustix::process::geteuid().as_raw());
        make_private(&folder, user).expect("made");
        assert_eq!(fs::metadata(&folder).expect("there").mode() & 0o777, 0o700);
        make_private(&folder, user).expect("found again");
    }

    #[test]
    fn folder_is_refused_when_open_to_others_or_foreign_or_a_link() {
        let scratch = Scratch::new("refused");
        let (folder, user) = (scratch.0.join("own"), rustix::process::geteuid().as_raw());
        make_private(&folder, user).expect("made");

        let foreign = make_private(&folder, user + 1).expect_err("belongs to somebody else");
        assert!(foreign.to_string().contains(&format!("belongs to user {user}")));

        let link = scratch.0.join("link");
        std::os::unix::fs::symlink(&folder, &link).expect("a link");
        let linked = make_private(&link, user).expect_err("a link");
        assert!(linked.to_string().contains("is not a folder"));

        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).expect("opened");
        let open = make_private(&folder, user).expect_err("open to others");
        assert!(open.to_string().contains("mode 0750, wanted 0700"));
    }
}
