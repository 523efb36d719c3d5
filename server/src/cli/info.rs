//! `killick info`: who the server is and how it does.

use std::time::{Duration, Instant};

use capnp::capability::Response;
use clap::Args;
use killick_schema::api::host_capnp::host::info_results;
use serde_json::json;
use time::OffsetDateTime;

use super::Context;
use super::connection::Connection;
use super::error::CliError;
use super::text::{bytes, duration, grouped, shown};

const AFTER_HELP: &str = "\
The id is what paths begin with; the full id is a longer part of the same fingerprint. The
generation is when the server was started, in milliseconds since 1970: what it held before that is
gone.

Examples:
  killick info
  killick info --json | jq .nodes";

/// Show who the server is, how large its tree is and how long an answer takes.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Info {}

/// What a server tells of itself.
#[derive(Clone, Debug)]
pub(super) struct HostInfo {
    pub(super) id: u64,
    pub(super) version: String,
    pub(super) hostname: String,
    pub(super) uptime: Duration,
    pub(super) nodes: u64,
    /// 0 where the server's platform does not tell.
    pub(super) resident_bytes: u64,
    pub(super) connections: u64,
    pub(super) threads: u32,
    /// Processor time of the server since it started.
    pub(super) cpu_micros: u64,
    /// Calls of all clients since the server started.
    pub(super) calls: u64,
    pub(super) stored_bytes: u64,
    /// Processes that it has started and that have not ended, or whose output has not been read.
    pub(super) processes: u32,
    /// When it was started, in milliseconds since 1970.
    pub(super) generation: u64,
    /// The name of its cluster, empty if it is alone.
    pub(super) cluster: String,
    pub(super) full_id: String,
    /// Hosts that are up.
    pub(super) hosts: u32,
    /// When the certificate ends that it shows other hosts, in seconds since 1970; 0 if it does not.
    pub(super) certificate_ends: u64,
}

impl HostInfo {
    pub(super) async fn ask(connection: &Connection) -> Result<Self, CliError> {
        let asked = connection.host().info_request().send().promise;
        Self::read(&connection.answer("info", asked).await?)
    }

    /// The same, if this client is told: one whose root is an anchor, and not the host, is not.
    pub(super) async fn ask_if_told(connection: &Connection) -> Result<Option<Self>, CliError> {
        let asked = connection.host().info_request().send().promise;
        let told = async {
            match asked.await {
                Err(error) if error.kind == capnp::ErrorKind::Unimplemented => Ok(None),
                told => told.map(Some),
            }
        };
        connection.answer("info", told).await?.as_ref().map(Self::read).transpose()
    }

    fn read(response: &Response<info_results::Owned>) -> Result<Self, CliError> {
        let read = || {
            let info = response.get()?.get_info()?;
            Ok(HostInfo {
                id: info.get_id(),
                version: String::from_utf8_lossy(info.get_version()?.as_bytes()).into_owned(),
                hostname: String::from_utf8_lossy(info.get_hostname()?.as_bytes()).into_owned(),
                uptime: Duration::from_millis(info.get_uptime_millis()),
                nodes: info.get_nodes(),
                resident_bytes: info.get_resident_bytes(),
                connections: info.get_connections(),
                threads: info.get_threads(),
                cpu_micros: info.get_cpu_micros(),
                calls: info.get_calls(),
                stored_bytes: info.get_stored_bytes(),
                processes: info.get_processes(),
                generation: info.get_generation(),
                cluster: String::from_utf8_lossy(info.get_cluster()?.as_bytes()).into_owned(),
                hosts: info.get_hosts(),
                certificate_ends: info.get_certificate_ends(),
                full_id: String::from_utf8_lossy(info.get_full_id()?.as_bytes()).into_owned(),
            })
        };
        read().map_err(|error| CliError::call("info", &error))
    }

    /// When the certificate ends that it shows other hosts, and in how many days.
    fn ends(&self) -> Option<String> {
        let seconds = i64::try_from(self.certificate_ends).ok().filter(|&seconds| seconds > 0)?;
        let end = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        let left = (end - OffsetDateTime::now_utc()).whole_days();
        Some(match left {
            ..0 => format!("has ended on {}: no other host takes it", end.date()),
            _ => format!("ends on {}, in {left} days", end.date()),
        })
    }

    pub(super) fn memory(&self) -> String {
        match self.resident_bytes {
            0 => "unknown".to_owned(),
            resident => bytes(resident),
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "id": format!("{:016x}", self.id),
            "version": self.version,
            "hostname": self.hostname,
            "uptimeMillis": u64::try_from(self.uptime.as_millis()).unwrap_or(u64::MAX),
            "nodes": self.nodes,
            "residentBytes": self.resident_bytes,
            "connections": self.connections,
            "threads": self.threads,
            "cpuMicros": self.cpu_micros,
            "calls": self.calls,
            "storedBytes": self.stored_bytes,
            "processes": self.processes,
            "generation": self.generation,
            "cluster": (!self.cluster.is_empty()).then_some(&self.cluster),
            "fullId": self.full_id,
            "hosts": self.hosts,
            "certificateEnds": (self.certificate_ends > 0).then_some(self.certificate_ends),
        })
    }
}

impl Info {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), CliError> {
        // The first answer comes with the bootstrap; the second is what a call takes.
        HostInfo::ask(&context.connection).await?;
        let asked = Instant::now();
        let info = HostInfo::ask(&context.connection).await?;
        let round_trip = asked.elapsed();
        let address = context.connection.address().to_string();
        let output = &mut context.output;
        if output.is_json() {
            let mut line = info.json();
            line["address"] = address.into();
            line["roundTripMicros"] =
                json!(u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX));
            return output.line(line);
        }
        output.line(format!("host         {:016x}", info.id))?;
        output.line(format!("full id      {}", shown(info.full_id.as_bytes())))?;
        let cluster = if info.cluster.is_empty() { "none" } else { &info.cluster };
        output.line(format!("cluster      {}", shown(cluster.as_bytes())))?;
        if !info.cluster.is_empty() {
            output.line(format!("hosts        {}", info.hosts))?;
        }
        if let Some(ends) = info.ends() {
            output.line(format!("certificate  {ends}"))?;
        }
        output.line(format!("generation   {}", info.generation))?;
        output.line(format!("address      {address}"))?;
        output.line(format!("hostname     {}", shown(info.hostname.as_bytes())))?;
        output.line(format!("version      {}", shown(info.version.as_bytes())))?;
        output.line(format!("up           {}", duration(info.uptime)))?;
        output.line(format!("nodes        {}", grouped(info.nodes)))?;
        output.line(format!("values       {}", bytes(info.stored_bytes)))?;
        output.line(format!("memory       {}", info.memory()))?;
        output.line(format!("threads      {}", info.threads))?;
        output
            .line(format!("cpu          {}", duration(Duration::from_micros(info.cpu_micros))))?;
        output.line(format!("calls        {}", grouped(info.calls)))?;
        output.line(format!("connections  {}", grouped(info.connections)))?;
        output.line(format!("processes    {}", grouped(info.processes.into())))?;
        output.line(format!("round trip   {}", duration(round_trip)))
    }
}
