//! Values between the command line and the wire.
//!
//! Text and Data are the same thing on the wire, a list of bytes, but that Text ends with a zero
//! byte that does not belong to it. So a byte list reads as text if it ends with a zero byte, has no
//! other, and what stands before it is UTF-8; everything else is data. The one value that this takes
//! for another is Data that happens to look like that; `load --data` shows it byte by byte.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use capnp::any_pointer;
use capnp::capability::FromClientHook;
use killick_schema::api::anchor_capnp::anchor;
use killick_schema::api::channel_capnp::{chan, recver, send_closer};
use killick_schema::api::host_capnp::host;
use killick_schema::api::process_capnp::process;
use serde_json::{Value as Json, json};

use super::connection::within;
use super::error::{CliError, reason};
use super::output::Output;
use super::text::{counted, hex, shown};

/// The most bytes that a list holds on the wire, less the zero byte of a text.
const LIST_BYTES: u64 = (1 << 29) - 2;

/// How long a capability has to say what it is, before it counts as one that does not say.
pub(crate) const KIND_TIMEOUT: Duration = Duration::from_secs(1);

/// The end of a channel that only receives.
pub(crate) const RECEIVES: &str = "end of a channel that receives";

/// One that only sends, and one that only closes.
pub(crate) const SENDS: &str = "end of a channel that sends";
pub(crate) const CLOSES: &str = "end of a channel that closes";

/// A process that a host has started.
pub(crate) const PROCESS: &str = "process";

/// The most bytes of data that a terminal gets to see.
const DUMPED: usize = 256;

/// A VALUE argument, read.
pub(crate) enum Content {
    Text(String),
    Data(Vec<u8>),
}

impl Content {
    /// Reads VALUE, or standard input to its end if VALUE is `-`.
    pub(crate) fn read(argument: &OsStr, data: bool) -> Result<Self, CliError> {
        let bytes = match argument.as_bytes() {
            b"-" => read_stdin()?,
            bytes => bytes.to_vec(),
        };
        Content::of(bytes, data)
    }

    /// Whether VALUE can be stored, as far as it is there.
    pub(crate) fn check(argument: &OsStr, data: bool) -> Result<(), CliError> {
        match argument.as_bytes() {
            b"-" => Ok(()),
            bytes => Content::of(bytes.to_vec(), data).map(drop),
        }
    }

    /// Takes bytes as text, or as data.
    pub(crate) fn of(bytes: Vec<u8>, data: bool) -> Result<Self, CliError> {
        if data {
            return Ok(Content::Data(bytes));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            CliError::usage("value", format!("not UTF-8 at byte {at}; store it with --data"))
        })?;
        match text.find('\0') {
            None => Ok(Content::Text(text)),
            Some(at) => {
                let why = format!("a zero byte at byte {at} is not text; store it with --data");
                Err(CliError::usage("value", why))
            }
        }
    }

    /// Copies it into a message.
    pub(crate) fn write(&self, mut to: any_pointer::Builder<'_>) -> capnp::Result<()> {
        match self {
            Content::Text(text) => to.set_as::<capnp::text::Owned>(text.as_str()),
            Content::Data(data) => to.set_as::<capnp::data::Owned>(data.as_slice()),
        }
    }
}

fn read_stdin() -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().lock().take(LIST_BYTES + 1);
    input.read_to_end(&mut bytes).map_err(|error| CliError::failed("read stdin", error))?;
    match bytes.len() as u64 > LIST_BYTES {
        true => Err(CliError::failed("read stdin", "more than the 512 MiB that a value can be")),
        false => Ok(bytes),
    }
}

/// A value that came from the server.
pub(crate) enum Value {
    Nothing,
    Text(String),
    Data(Vec<u8>),
    Capability(capnp::capability::Client),
    /// Anything else: only who knows its schema can read it.
    Structure {
        words: u64,
        capabilities: u64,
    },
}

impl Value {
    /// Reads what a pointer points to. With `bytes`, a list of bytes is data even if it looks like
    /// text.
    pub(crate) fn read(from: any_pointer::Reader<'_>, bytes: bool) -> capnp::Result<Self> {
        if from.is_null() {
            return Ok(Value::Nothing);
        }
        if let Ok(capability) = from.get_as_capability::<capnp::capability::Client>() {
            return Ok(Value::Capability(capability));
        }
        if let Ok(data) = from.get_as::<capnp::data::Reader<'_>>() {
            return Ok(match as_text(data) {
                Some(text) if !bytes => Value::Text(text.to_owned()),
                _ => Value::Data(data.to_vec()),
            });
        }
        let size = from.target_size()?;
        Ok(Value::Structure { words: size.word_count, capabilities: size.cap_count.into() })
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Value::Nothing)
    }

    /// Shows the value: text with a line end, data as it is to a pipe and in hexadecimal to a
    /// terminal, the rest by a description. Shows nothing for nothing.
    pub(crate) async fn show(&self, output: &mut Output) -> Result<(), CliError> {
        match self {
            Value::Nothing => Ok(()),
            Value::Text(text) => show_text(text, output),
            Value::Data(data) if output.is_terminal() => {
                dump(data).into_iter().try_for_each(|line| output.line(line))
            }
            Value::Data(data) => output.bytes(data),
            Value::Capability(capability) => match kind(capability).await {
                Some(kind) => output.line(format!("capability: {kind}")),
                None => output.line("capability"),
            },
            Value::Structure { words, capabilities } => output.line(format!(
                "structure: {}, {}",
                counted(words * 8, "byte"),
                match capabilities {
                    1 => "1 capability".to_owned(),
                    n => format!("{n} capabilities"),
                },
            )),
        }
    }

    /// The value on one line; nothing for nothing.
    pub(crate) fn summary(&self) -> Option<String> {
        Some(match self {
            Value::Nothing => return None,
            Value::Text(text) => shown(text.as_bytes()),
            Value::Data(data) => format!("data: {}", counted(data.len() as u64, "byte")),
            Value::Capability(_) => "capability".to_owned(),
            Value::Structure { words, .. } => format!("structure: {}", counted(words * 8, "byte")),
        })
    }

    /// The value as the fields of a JSON object.
    pub(crate) async fn json(&self) -> Json {
        match self {
            Value::Nothing => Json::Null,
            Value::Text(text) => json!({"kind": "text", "text": text}),
            Value::Data(data) => json!({"kind": "data", "bytes": data.len(), "hex": hex(data)}),
            Value::Capability(capability) => {
                json!({"kind": "capability", "interface": kind(capability).await})
            }
            Value::Structure { words, capabilities } => {
                json!({"kind": "structure", "bytes": words * 8, "capabilities": capabilities})
            }
        }
    }
}

/// The text that a list of bytes is, if it is one.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let (&last, text) = bytes.split_last()?;
    if last != 0 || text.contains(&0) {
        return None;
    }
    std::str::from_utf8(text).ok()
}

fn show_text(text: &str, output: &mut Output) -> Result<(), CliError> {
    if output.is_terminal() {
        let text = text.strip_suffix('\n').unwrap_or(text);
        return text.split('\n').try_for_each(|line| output.line(harmless(line)));
    }
    output.bytes(text.as_bytes())?;
    if text.ends_with('\n') { Ok(()) } else { output.bytes(b"\n") }
}

/// A line of text as a terminal may have it: tabs stay, other control characters are escaped.
fn harmless(line: &str) -> String {
    let parts: Vec<String> = line.split('\t').map(|part| shown(part.as_bytes())).collect();
    parts.join("\t")
}

/// What a terminal shows of data: the length and the first bytes.
fn dump(data: &[u8]) -> Vec<String> {
    let mut lines = vec![format!("data: {}", counted(data.len() as u64, "byte"))];
    for (i, row) in data[..data.len().min(DUMPED)].chunks(16).enumerate() {
        let bytes: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable = |&byte: &u8| if matches!(byte, 0x20..=0x7E) { byte as char } else { '.' };
        let text: String = row.iter().map(printable).collect();
        lines.push(format!("{:08x}  {:<47}  {text}", i * 16, bytes.join(" ")));
    }
    if data.len() > DUMPED {
        let more = counted((data.len() - DUMPED) as u64, "more byte");
        lines.push(format!("… {more}; a pipe or a file gets them all"));
    }
    lines
}

/// Which interface of the schema a capability answers to, by calls that change nothing; nothing if
/// to none, or not in time. Of the ends of a channel, one that only sends or closes has no such call: it says so
/// in the error of another.
pub(crate) async fn kind(capability: &capnp::capability::Client) -> Option<&'static str> {
    let hook = || capability.hook.clone();
    let host = host::Client::new(hook()).info_request().send().promise;
    let loader = anchor::loader::Client::new(hook()).load_request().send().promise;
    let mut lookup = anchor::Client::new(hook()).lookup_request();
    lookup.get().set_path("");
    let anchor = lookup.send().promise;
    let grant = anchor::grant::Client::new(hook()).info_request().send().promise;
    let chan = chan::Client::<any_pointer::Owned>::new(hook()).capacity_request().send().promise;
    let ends = send_closer::Client::<any_pointer::Owned>::new(hook());
    let ends = ends.new_closer_request().send().promise;
    // As many as none.
    let recver = recver::Client::<any_pointer::Owned>::new(hook()).recv_many_request();
    let recver = recver.send().promise;
    let process = process::Client::new(hook()).status_request().send().promise;
    let asked = async {
        let asked = tokio::join!(host, anchor, loader, grant, chan, ends, recver, process);
        let (host, anchor, loader, grant, chan, ends, recver, process) = asked;
        let says = |kind: &&str| match &host {
            Err(error) => reason(error).contains(&format!("(an {kind} does not know ")),
            Ok(_) => false,
        };
        if let Some(kind) = [SENDS, CLOSES].into_iter().find(says) {
            return Some(kind);
        }
        let kinds = [
            ("host", answers(&host)),
            ("anchor", answers(&anchor)),
            ("loader", answers(&loader)),
            ("grant", answers(&grant)),
            ("channel", answers(&chan)),
            ("end of a channel that sends and closes", answers(&ends)),
            (RECEIVES, answers(&recver)),
            (PROCESS, answers(&process)),
        ];
        kinds.into_iter().find_map(|(kind, answers)| answers.then_some(kind))
    };
    within(Some(KIND_TIMEOUT), asked).await.flatten()
}

/// Whether this is an answer to the call, also if it is that the right is missing.
fn answers<T>(answer: &capnp::Result<T>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => reason(error).parse::<killick::Denied>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_only_with_one_zero_at_the_end_of_utf8() {
        assert_eq!(as_text(b"hello\0"), Some("hello"));
        assert_eq!(as_text(b"\0"), Some(""));
        assert_eq!(as_text(b""), None);
        assert_eq!(as_text(b"hello"), None);
        assert_eq!(as_text(b"a\0b\0"), None);
        assert_eq!(as_text(b"\xff\0"), None);
    }

    #[test]
    fn text_and_data_come_back_from_a_message_as_what_they_are() {
        let mut message = capnp::message::Builder::new_default();
        let mut read_back = |content: Content| {
            content.write(message.init_root()).expect("to copy a small value");
            let root = message.get_root_as_reader().expect("the root");
            Value::read(root, false).expect("to read a small value")
        };
        assert!(matches!(read_back(Content::Text("é".into())), Value::Text(t) if t == "é"));
        assert!(matches!(read_back(Content::Text("".into())), Value::Text(t) if t.is_empty()));
        assert!(matches!(read_back(Content::Data(vec![0, 1])), Value::Data(d) if d == [0, 1]));
        assert!(matches!(read_back(Content::Data(vec![])), Value::Data(d) if d.is_empty()));
    }

    #[test]
    fn a_terminal_sees_the_start_of_long_data_and_how_much_more_there_is() {
        let lines = dump(&[0x41; 300]);
        assert_eq!(lines.len(), 1 + 16 + 1);
        assert_eq!(lines[0], "data: 300 bytes");
        assert!(lines[1].ends_with("AAAAAAAAAAAAAAAA"), "{}", lines[1]);
        assert!(lines[17].starts_with("… 44 more bytes"), "{}", lines[17]);
    }
}
