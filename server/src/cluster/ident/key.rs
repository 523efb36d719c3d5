//! The file of a host's key.

use std::io;
use std::path::Path;

use killick_client::IdentityError;
use killick_client::internal::read_private;
use rcgen::{KeyPair, PKCS_ED25519};

use super::ClusterIdentityError;
use crate::pki;

/// Reads the key in the file at `path`, which is made if it is not there.
pub(super) fn load_or_make(path: &Path) -> Result<KeyPair, ClusterIdentityError> {
    match read(path) {
        Err(ClusterIdentityError::Identity(IdentityError::Io { error, .. }))
            if error.kind() == io::ErrorKind::NotFound =>
        {
            make(path)
        }
        read => read,
    }
}

fn read(path: &Path) -> Result<KeyPair, ClusterIdentityError> {
    let bad = |reason: String| ClusterIdentityError::Key { path: path.to_owned(), reason };
    let key = KeyPair::from_pem(&read_private(path)?);
    let key = key.map_err(|error| bad(format!("no private key in PEM: {error}")))?;
    match key.algorithm() == &PKCS_ED25519 {
        true => Ok(key),
        false => Err(bad("not an ed25519 key".to_owned())),
    }
}

fn make(path: &Path) -> Result<KeyPair, ClusterIdentityError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| ClusterIdentityError::Key {
        path: path.to_owned(),
        reason: "not the name of a file".to_owned(),
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let key = pki::fresh_key()?;
    match pki::write_new(folder.unwrap_or(Path::new(".")), &[(name, &key.serialize_pem())]) {
        Ok(()) => Ok(key),
        // Another process of this host was first.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(error) => {
            let reason = error.why();
            Err(ClusterIdentityError::Key { path: error.path, reason })
        }
    }
}
