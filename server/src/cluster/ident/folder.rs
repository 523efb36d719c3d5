//! The folder that an identity was read from, and whether it holds something else by now.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{ClusterIdentity, ClusterIdentityError};

/// The files that make an identity.
const FILES: [&str; 4] = ["key.pem", "cert.pem", "ca.pem", "crl.pem"];

/// Where an identity is from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) folder: PathBuf,
    /// As it was before it was read.
    pub(super) stamp: Stamp,
}

impl Source {
    pub(super) fn of(folder: &Path) -> Self {
        Source { folder: folder.to_owned(), stamp: Stamp::of(folder) }
    }
}

/// What the files were at some time: as long as it is the same, so are they.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([Option<File>; FILES.len()]);

/// Whatever is done to a file or put in its place changes one of these.
#[derive(Clone, Copy, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    size: u64,
    /// In seconds and nanoseconds, of the contents and of whatever else there is to change.
    changed: [(i64, i64); 2],
}

impl Stamp {
    fn of(folder: &Path) -> Self {
        Stamp(FILES.map(|name| {
            let file = fs::metadata(folder.join(name)).ok()?;
            Some(File {
                device: file.dev(),
                inode: file.ino(),
                size: file.size(),
                changed: [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())],
            })
        }))
    }
}

/// Who looks at the folder of an identity from time to time.
#[derive(Default)]
pub(crate) struct Lookout {
    /// What was there at the last look.
    before: Option<Stamp>,
    /// What was last read.
    tried: Option<Stamp>,
}

impl Lookout {
    /// What has become of `identity`, if its folder holds something else than when that was read. Each change is
    /// told once, when it has been the same for two looks: until then somebody may still be writing.
    ///
    /// Of an identity that is of no folder there is never anything to tell.
    pub(crate) fn look(
        &mut self,
        identity: &ClusterIdentity,
    ) -> Option<Result<ClusterIdentity, ClusterIdentityError>> {
        let Source { folder, stamp } = identity.0.source.as_ref()?;
        let seen = Stamp::of(folder);
        let is_steady = self.before.replace(seen) == Some(seen);
        if seen == *stamp {
            // What was tried since has been taken back.
            self.tried = None;
            return None;
        }
        if !is_steady || self.tried == Some(seen) {
            return None;
        }
        self.tried = Some(seen);
        Some(ClusterIdentity::load(folder, identity.cluster()))
    }
}
