//! Which programs a server starts.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// Programs that a server may start: one, all below a folder, or every one.
///
/// What counts is the file itself, wherever symbolic links to it lie. An interpreter that is allowed runs
/// whatever its arguments and its environment say.
///
/// # Examples
/// ```
/// use killick_server::Allowed;
///
/// assert!("*".parse::<Allowed>().is_ok());
/// assert!("/usr/bin/".parse::<Allowed>().is_ok()); // all below it
/// let error = "sh".parse::<Allowed>().unwrap_err();
/// assert!(error.to_string().contains("absolute"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    All,
    Below(PathBuf),
    One(PathBuf),
}

/// A text that names no programs: neither `*` nor an absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedError(String);

impl fmt::Display for AllowedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = "is neither '*' nor an absolute path of a program, or of a folder with a '/' at its end";
        write!(f, "'{}' {words}", self.0)
    }
}

impl std::error::Error for AllowedError {}

impl FromStr for Allowed {
    type Err = AllowedError;

    fn from_str(text: &str) -> Result<Self, AllowedError> {
        match text {
            "*" => Ok(Allowed(Kind::All)),
            _ if !text.starts_with('/') => Err(AllowedError(text.to_owned())),
            _ if text.ends_with('/') => Ok(Allowed(Kind::Below(text.into()))),
            _ => Ok(Allowed(Kind::One(text.into()))),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::All => f.write_str("*"),
            Kind::Below(path) | Kind::One(path) => path.display().fmt(f),
        }
    }
}

impl Allowed {
    /// Every program.
    pub const ALL: Allowed = Allowed(Kind::All);

    /// Whether it is for the owner of the list to tell whether there is a program at `path`.
    fn names(&self, path: &Path) -> bool {
        match &self.0 {
            Kind::All => true,
            Kind::Below(folder) => {
                let goes_up = |component| component == Component::ParentDir;
                path.starts_with(folder) && !path.components().any(goes_up)
            }
            Kind::One(program) => program == path,
        }
    }

    /// Whether the program at `path`, which has no links in it, is one of these.
    fn covers(&self, path: &Path) -> bool {
        let real = |path: &PathBuf| path.canonicalize().ok();
        match &self.0 {
            Kind::All => true,
            Kind::Below(folder) => real(folder).is_some_and(|folder| path.starts_with(folder)),
            Kind::One(program) => real(program).as_deref() == Some(path),
        }
    }
}

/// The file of `program`, an absolute path or a name in the server's `PATH`, if it is among the `allowed` ones.
///
/// # Errors
/// Why it cannot be started, for people to read.
pub(super) fn find(program: &str, allowed: &[Allowed]) -> Result<PathBuf, String> {
    if allowed.is_empty() {
        return Err("this server starts no programs (allow-exec)".into());
    }
    if program.is_empty() {
        return Err("it has no name".into());
    }
    if program.contains('\0') {
        return Err("its name has a zero byte".into());
    }
    let found = match program.contains('/') {
        true if !program.starts_with('/') => {
            return Err("it is neither an absolute path nor a name without '/'".into());
        }
        true => PathBuf::from(program),
        false => in_path(program, &env::var_os("PATH").unwrap_or_default())
            .ok_or("there is no such program in the server's PATH")?,
    };
    // Who may not start it does not learn whether it is there.
    let refused = || format!("this server does not start {} (allow-exec)", found.display());
    let told = allowed.iter().any(|allowed| allowed.names(&found));
    let found = found.canonicalize().map_err(|error| match error.kind() {
        _ if !told => refused(),
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    })?;
    if !allowed.iter().any(|allowed| allowed.covers(&found)) {
        return Err(refused());
    }
    let what = found.metadata().map_err(|error| error.to_string())?;
    if what.is_dir() {
        return Err("it is a folder".into());
    }
    if what.permissions().mode() & 0o111 == 0 {
        return Err("it is not executable".into());
    }
    // The C library would have a shell run what the system does not.
    let mut begin = [0; 4];
    let read = File::open(&found).and_then(|mut file| file.read(&mut begin));
    if read.is_ok() && begin != *b"\x7fELF" && !begin.starts_with(b"#!") {
        return Err("it is of no format that can be run: neither ELF nor '#!'".into());
    }
    Ok(found)
}

/// The first executable file of that name.
fn in_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_allowed_by_what_they_are_and_not_by_their_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("bin")).expect("created");
        for name in ["bin/good", "bad", "bin/plain"] {
            let text = if name == "bin/plain" { "echo" } else { "#!/bin/sh\n" };
            std::fs::write(at(name), text).expect("written");
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(0o755)).expect("set");
        }
        std::fs::write(at("bin/text"), "").expect("written");
        std::os::unix::fs::symlink(at("bad"), at("bin/link")).expect("linked");
        let spelled = |path: PathBuf| path.to_str().expect("text").to_owned();
        let below: Allowed = (spelled(at("bin")) + "/").parse().expect("a folder");
        let one: Allowed = spelled(at("bad")).parse().expect("a program");
        for (name, allowed, expected) in [
            ("bin/good", vec![below.clone()], Ok(())),
            ("bin/good", vec![], Err("starts no programs")),
            ("bin/gone", vec![below.clone()], Err("no such file")),
            ("gone", vec![below.clone()], Err("does not start")),
            ("bin/../gone", vec![below.clone()], Err("does not start")),
            ("bin/plain", vec![Allowed::ALL], Err("neither ELF nor")),
            ("bin/good", vec![one.clone()], Err("does not start")),
            ("bin/link", vec![below.clone()], Err("does not start")),
            ("bin/link", vec![one], Ok(())),
            ("bad", vec![Allowed::ALL], Ok(())),
            ("bin/text", vec![below.clone()], Err("not executable")),
            ("bin", vec![Allowed::ALL], Err("is a folder")),
            ("gone", vec![Allowed::ALL], Err("no such file")),
        ] {
            let found = find(&spelled(at(name)), &allowed);
            match (found, expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(words)) => assert!(error.contains(words), "{name}: {error}"),
                (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
            }
        }
        for (name, words) in [
            ("", "no name"),
            ("a/b", "neither an absolute path"),
            ("no-such-program-anywhere", "in the server's PATH"),
            ("/bin/\0", "zero byte"),
        ] {
            let error = find(name, &[Allowed::ALL]).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
        assert!(find("sh", &[Allowed::ALL]).is_ok());
    }
}
