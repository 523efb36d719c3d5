//! `killick secret`: what the hosts of a small cluster share.

use std::path::{Path, PathBuf};

use clap::Args;
use killick_server::{ClusterSecret, pki};
use serde_json::json;

use super::ca::file_error;
use super::error::CliError;
use super::output::Output;

const AFTER_HELP: &str = "\
Who has the secret is a host of the cluster, as many as it likes, and hosts are trusted with each
other's trees: copy it to the hosts by a way that nobody else can read, and keep its file for their
user alone. A host that is to be kept out again takes a new secret for all others; with an
authority, 'killick ca', its certificate is revoked.

Examples:
  killick secret --out cluster.secret";

/// Make the secret of a new cluster, by which its hosts know each other without an authority.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Secret {
    /// The file to write it to, for you alone; without one it is shown.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Secret {
    pub(super) fn run(self, json: bool) -> Result<(), CliError> {
        let text = ClusterSecret::fresh().reveal();
        let mut output = Output::new(json);
        match self.out {
            Some(path) => {
                write(&path, &text)?;
                match json {
                    true => output.line(json!({ "secret": path.display().to_string() }))?,
                    false => output.line(format!("secret  {}", path.display()))?,
                }
            }
            None if json => output.line(json!({ "text": text }))?,
            None => output.line(text)?,
        }
        output.flush()
    }
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name =
        name.ok_or_else(|| CliError::usage(path.display().to_string(), "not the name of a file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    pki::write_new(folder, &[(name, &format!("{text}\n"))]).map_err(file_error)
}
