//! Files for one user alone, all or none of them.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Why a file was not written. Displays as `path: why`.
#[derive(Debug)]
pub struct FileError {
    /// The file, or the folder.
    pub path: PathBuf,
    /// What the system said; `AlreadyExists` if it is there.
    pub error: io::Error,
}

impl FileError {
    fn new(path: &Path, error: io::Error) -> Self {
        FileError { path: path.to_owned(), error }
    }

    /// What is wrong, without the file.
    pub fn why(&self) -> String {
        match self.error.kind() {
            io::ErrorKind::AlreadyExists => "already there, and not overwritten".to_owned(),
            _ => self.error.to_string(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why())
    }
}

impl std::error::Error for FileError {}

/// Writes files that are not there yet, for this user alone, into `folder`, which is made if it is
/// missing. None that is there is changed, and after an error none of them is there.
pub fn write_new(folder: &Path, files: &[(&str, &str)]) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| FileError::new(folder, error))?;
    let there = files.iter().map(|(name, _)| folder.join(name)).find(|path| path.exists());
    if let Some(path) = there {
        return Err(FileError::new(&path, io::ErrorKind::AlreadyExists.into()));
    }
    // What takes room on the disk is done before any of them has its name.
    let mut written = Vec::with_capacity(files.len());
    for (name, text) in files {
        let path = folder.join(name);
        let file = write(folder, text).map_err(|error| FileError::new(&path, error))?;
        written.push((path, file));
    }
    let mut kept = Vec::with_capacity(files.len());
    for (path, file) in written {
        if let Err(error) = file.persist_noclobber(&path) {
            // What went wrong first is what is told.
            kept.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(FileError::new(&path, error.error));
        }
        kept.push(path);
    }
    Ok(())
}

/// Puts `text` into the place of what `folder` has as `name`, as a whole.
pub fn replace(folder: &Path, name: &str, text: &str) -> Result<(), FileError> {
    let path = folder.join(name);
    let written = write(folder, text).map_err(|error| FileError::new(&path, error))?;
    written.persist(&path).map(drop).map_err(|error| FileError::new(&path, error.error))
}

/// A file without a name to keep yet; it is for this user alone.
fn write(folder: &Path, text: &str) -> io::Result<NamedTempFile> {
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
}
