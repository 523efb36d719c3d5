//! Settings as they are shown: with the defaults, and what has none.

use clap::Command;
use killick::Limits;
use killick_client::Address;
use killick_server::Config;
use serde_json::Value as Json;

use super::Settings;
use super::written::{Listen, Time};
use crate::cli::error::CliError;
use crate::cli::log::{Format, Level};

/// The settings that have no default, or one that follows from others, with what they may be.
const UNSET: [(&str, &str); 20] = [
    ("listen", "[\"unix:/run/killick/killick.sock\"]"),
    ("tls-identity", "\"/etc/killick/host\""),
    ("authorized", "\"/etc/killick/authorized\""),
    ("allow-uid", "[1000]"),
    ("allow-gid", "[1000]"),
    ("allow-exec", "[\"/usr/bin/python3\"]"),
    ("cluster", "\"c1\""),
    ("listen-cluster", "\"192.0.2.7:7300\""),
    ("join", "[\"hosts.example.org:7300\"]"),
    ("advertise", "\"198.51.100.7:7300\""),
    ("advertise-client", "[\"tls:db.example.org:2016\"]"),
    ("cluster-identity", "\"/etc/killick/host\""),
    ("cluster-secret", "\"/etc/killick/cluster.secret\""),
    ("host-key", "\"/var/lib/killick/host.key\""),
    ("tag", "[\"zone=a\"]"),
    ("cluster-mtu", "1280"),
    ("metrics", "\"127.0.0.1:9102\""),
    ("max-handshakes", "512"),
    ("max-message-bytes", "4194304"),
    ("idle-timeout", "\"1m\""),
];

impl Settings {
    /// The settings that come to the defaults.
    pub(super) fn defaults() -> Self {
        let Config {
            listen: _,
            tls: _,
            authorized: _,
            allow_uids: _,
            allow_gids: _,
            allow_exec: _,
            launcher: _,
            cluster: _,
            handshake_timeout,
            metrics: _,
            threads,
            limits: Limits { name_bytes, path_bytes, depth, children, nodes },
            max_connections,
            max_handshakes,
            max_capabilities,
            max_connection_nodes,
            max_connection_values,
            max_watches,
            max_calls,
            max_call_bytes,
            max_value_bytes,
            max_message_bytes,
            max_stored_bytes,
            max_channels,
            max_connection_channels,
            max_channel_capacity,
            max_processes,
            max_value_capabilities,
            settle_timeout,
            write_timeout,
            read_timeout,
            idle_timeout,
            drain_timeout,
        } = Config::default();
        Settings {
            listen: None,
            tls_identity: None,
            authorized: None,
            handshake_timeout: Some(Time(handshake_timeout)),
            allow_uid: None,
            allow_gid: None,
            allow_exec: None,
            cluster: None,
            listen_cluster: None,
            join: None,
            advertise: None,
            advertise_client: None,
            cluster_mtu: None,
            cluster_identity: None,
            cluster_secret: None,
            host_key: None,
            tag: None,
            metrics: None,
            threads: Some(threads),
            max_connections: Some(max_connections),
            max_handshakes,
            max_capabilities: Some(max_capabilities),
            max_connection_nodes: Some(max_connection_nodes),
            max_connection_values: Some(max_connection_values),
            max_watches: Some(max_watches),
            max_calls: Some(max_calls),
            max_call_bytes: Some(max_call_bytes),
            max_value_bytes: Some(max_value_bytes),
            max_message_bytes,
            max_stored_bytes: Some(max_stored_bytes),
            max_channels: Some(max_channels),
            max_connection_channels: Some(max_connection_channels),
            max_channel_capacity: Some(max_channel_capacity),
            max_processes: Some(max_processes),
            max_value_capabilities: Some(max_value_capabilities),
            max_nodes: Some(nodes),
            max_children: Some(children),
            max_depth: Some(depth),
            max_name_bytes: Some(name_bytes),
            max_path_bytes: Some(path_bytes),
            settle_timeout: Some(Time(settle_timeout)),
            write_timeout: Some(Time(write_timeout)),
            read_timeout: Some(Time(read_timeout)),
            idle_timeout: idle_timeout.map(Time),
            drain_timeout: Some(Time(drain_timeout)),
            log: Some(Level::Info),
            log_format: Some(Format::Text),
        }
    }

    /// As a file, with the defaults for what is not set, and as a comment what has none.
    pub(in crate::cli) fn to_toml(&self) -> Result<String, CliError> {
        let all = self.or(&Settings::defaults());
        let mut text =
            toml::to_string(&all).map_err(|error| CliError::failed("check-config", error))?;
        let unset = UNSET.into_iter().filter(|(key, _)| !all.has(key));
        text.extend(unset.map(|(key, example)| format!("# {key} = {example}\n")));
        Ok(text)
    }

    /// As one document, with the defaults for what is not set, and null for what has none. Where it listens is told as
    /// it comes to.
    pub(in crate::cli) fn to_json(&self, listen: &[Address]) -> Result<Json, CliError> {
        let all = self.or(&Settings::defaults());
        let all = Settings { listen: Some(listen.iter().cloned().map(Listen).collect()), ..all };
        serde_json::to_value(&all).map_err(|error| CliError::failed("check-config", error))
    }

    /// Has the help of a command that takes settings tell the defaults.
    pub(in crate::cli) fn explained(command: Command) -> Command {
        let defaults = Settings::defaults().fields();
        command.mut_args(|argument| {
            let Some(value) = defaults.get(&argument.get_id().as_str().replace('_', "-")) else {
                return argument;
            };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let help = argument.get_help().map(|help| format!("{help} [default: {value}]"));
            let long = argument.get_long_help();
            let long = long.map(|help| format!("{help}\n\n[default: {value}]"));
            let argument = help.into_iter().fold(argument, |argument, help| argument.help(help));
            long.into_iter().fold(argument, |argument, help| argument.long_help(help))
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[test]
    fn what_is_not_set_is_shown_as_a_comment_that_could_be_set() {
        let text = Settings::default().to_toml().expect("text");
        let all = Settings::augment_args(Command::new("serve"));
        for argument in all.get_arguments() {
            let key = argument.get_id().as_str().replace('_', "-");
            let is_there = text
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
            assert!(is_there, "{key}: {text}");
        }
        let all = text.replace("# ", "");
        let read = toml::from_str::<Settings>(&all).expect("settings");
        assert!(UNSET.iter().all(|(key, _)| read.has(key)), "{all}");
    }
}
