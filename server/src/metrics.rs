//! Metrics and health, by HTTP: `/metrics` in the text form of OpenMetrics, `/health` for those who watch
//! over the process.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tracing::warn;

use crate::shared::Shared;
use crate::stats::{BUCKETS, Limit, METHODS, OUTCOMES};
use crate::system;

/// How long a worker may take to answer before the server is called unhealthy.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client may take to read its answer, with all before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most connections at a time. One more gets the place of the oldest that has not asked for anything
/// yet; if all have, it waits to be accepted.
const MAX_CONNECTIONS: usize = 16;

/// A connection that is open.
struct Open {
    /// Whether its request has come.
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Connections {
    open: VecDeque<Open>,
    tasks: JoinSet<()>,
}

impl Connections {
    /// The place of the oldest of those that have not asked for anything yet.
    fn oldest_silent(&self) -> Option<usize> {
        // Relaxed: these tasks run on one thread.
        self.open.iter().position(|open| !open.has_asked.load(Ordering::Relaxed))
    }

    /// Whether one more may be accepted.
    fn has_room(&self) -> bool {
        self.open.len() < MAX_CONNECTIONS || self.oldest_silent().is_some()
    }

    /// Answers what is asked for over `stream`.
    fn add(&mut self, stream: TcpStream, shared: &Arc<Shared>, registry: &Arc<Registry>) {
        if self.open.len() >= MAX_CONNECTIONS
            && let Some(silent) = self.oldest_silent().and_then(|at| self.open.remove(at))
        {
            silent.task.abort();
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let (asked, shared, registry) = (has_asked.clone(), shared.clone(), registry.clone());
        let task = self.tasks.spawn(async move {
            let answer = service_fn(|request| {
                asked.store(true, Ordering::Relaxed);
                answer(request, &shared, &registry)
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).keep_alive(false);
            let served = server.serve_connection(TokioIo::new(stream), answer);
            // An error is the client's: it has gone, does not read, or does not speak HTTP.
            let _ = timeout(ANSWER_TIMEOUT, served).await;
        });
        self.open.push_back(Open { has_asked, task });
    }

    /// Resolves when one has ended; never if there is none.
    async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
        self.open.retain(|open| !open.task.is_finished());
    }
}

/// Answers requests until the server stops.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut registry = Registry::with_prefix("killick");
    registry.register_collector(Box::new(Scrape(shared.clone())));
    let registry = Arc::new(registry);
    let mut connections = Connections::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.has_room() => accepted,
            () = connections.ended() => continue,
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((stream, _)) => connections.add(stream, &shared, &registry),
            Err(error) => {
                warn!(%error, "accepting failed, for metrics");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
    registry: &Registry,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // From the answer to HEAD hyper leaves out the body.
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let mut text = String::new();
            match prometheus_client::encoding::text::encode(&mut text, registry) {
                Ok(()) => (StatusCode::OK, METRICS, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            }
        }
        (&Method::GET | &Method::HEAD, "/health") => {
            match shared.stuck_worker(HEALTH_TIMEOUT).await {
                None => (StatusCode::OK, TEXT, "ok\n".into()),
                Some(number) => {
                    let text = format!("worker {number} does not answer\n");
                    (StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
                }
            }
        }
        (_, "/metrics" | "/health") => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD only\n".into())
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "there are /metrics and /health\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Binds the address for [`serve`].
///
/// # Errors
/// It is not a loopback address, or the system refuses.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    check(address)?;
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Whether `address` is one that metrics may be at: a loopback address.
pub(crate) fn check(address: SocketAddr) -> io::Result<()> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let error = "metrics are for loopback addresses only: anybody who reaches them may read them";
    Err(io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Reads what is counted when it is asked for.
struct Scrape(Arc<Shared>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let shared = &self.0;
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        encoder
            .encode_descriptor("build", "What runs", None, MetricType::Info)?
            .encode_info(&build)?;

        let clients = shared.clients.list();
        let sum =
            |of: fn(&crate::stats::Stats) -> u64| clients.iter().map(|client| of(client)).sum();
        let gauges: [(&str, &str, u64); 18] = [
            ("uptime_seconds", "Since the start", shared.started.elapsed().as_secs()),
            ("threads", "Threads that serve connections", shared.workers() as u64),
            ("connections", "Connections that are open", shared.connections() as u64),
            ("running_calls", "Calls that are not done", sum(|client| client.running.get())),
            ("handles", "Capabilities that clients hold", sum(|client| client.handles.get())),
            (
                "hosted",
                "Capabilities that clients host for others",
                sum(|client| client.hosted.get()),
            ),
            (
                "watches",
                "Watches, and calls that wait for a value",
                sum(|client| client.watches.load(Ordering::Relaxed) as u64),
            ),
            ("pending_bytes", "Bytes that wait to be written", sum(|client| client.pending.get())),
            ("nodes", "Nodes in the tree, its root included", shared.tree.nodes() as u64),
            (
                "values",
                "Values in cells and channels, and not yet reclaimed",
                shared.values() as u64,
            ),
            ("stored_bytes", "Bytes of values", shared.stored_bytes() as u64),
            ("channels", "Channels", shared.channels.count() as u64),
            (
                "processes",
                "Processes that it has started and that have not ended, or whose output has not been read",
                shared.processes.load(Ordering::Relaxed) as u64,
            ),
            ("resident_bytes", "Resident memory of the process", system::resident_bytes()),
            ("max_connections", "The limit of connections", shared.config().max_connections as u64),
            ("max_channels", "The limit of channels", shared.config().max_channels as u64),
            ("max_processes", "The limit of processes", shared.config().max_processes as u64),
            (
                "max_stored_bytes",
                "The limit of stored bytes",
                shared.config().max_stored_bytes as u64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }

        let (read, written) = shared.clients.bytes();
        let counters = [
            (
                "accepted_connections",
                "Connections that were served",
                shared.all_connections() as f64,
            ),
            ("refused_connections", "Connections that were not", shared.refusals.count() as f64),
            ("read_bytes", "Bytes read from clients", read as f64),
            ("written_bytes", "Bytes written to clients", written as f64),
            ("cpu_seconds", "Processor time of the process", system::cpu_micros() as f64 / 1e6),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }

        #[cfg(feature = "cluster")]
        crate::cluster::encode_metrics(shared, &mut encoder)?;
        let help =
            "What clients were refused or cut off for, by the setting that says so, or 'grant'";
        let mut limits =
            encoder.encode_descriptor("limits_hit", help, None, MetricType::Counter)?;
        for (limit, name) in Limit::ALL {
            let count = ConstCounter::new(shared.hits.get(limit));
            count.encode(limits.encode_family(&[("limit", name)])?)?;
        }
        let help = "What waits for a thread from others: calls to what its clients host, and notes";
        let mut queues = encoder.encode_descriptor("queued", help, None, MetricType::Gauge)?;
        for (thread, waits) in shared.queues.iter().enumerate() {
            let thread = thread.to_string();
            for (kind, count) in [("calls", &waits.calls), ("notes", &waits.notes)] {
                let labels = [("thread", thread.as_str()), ("kind", kind)];
                ConstGauge::new(count.get()).encode(queues.encode_family(&labels)?)?;
            }
        }
        let help = "What a thread keeps for others of what its clients host";
        let mut slots = encoder.encode_descriptor("bridge_slots", help, None, MetricType::Gauge)?;
        for (thread, kept) in shared.queues.iter().enumerate() {
            let labels = [("thread", thread.to_string())];
            ConstGauge::new(kept.slots.get()).encode(slots.encode_family(&labels)?)?;
        }

        let help = "Calls that have ended, by method and how";
        let mut calls = encoder.encode_descriptor("calls", help, None, MetricType::Counter)?;
        for (index, method) in METHODS.into_iter().enumerate() {
            for (number, outcome) in OUTCOMES.into_iter().enumerate() {
                let counts = shared.calls.iter().map(|calls| &calls.0[index].outcomes[number]);
                let count = ConstCounter::new(counts.map(|count| count.get()).sum::<u64>());
                let labels = [("method", method), ("outcome", outcome)];
                count.encode(calls.encode_family(&labels)?)?;
            }
        }
        let help = "Time from a call's arrival to its answer";
        let mut times =
            encoder.encode_descriptor("call_seconds", help, None, MetricType::Histogram)?;
        for (index, method) in METHODS.into_iter().enumerate() {
            let all = || shared.calls.iter().map(|calls| &calls.0[index]);
            let bucket =
                |number: usize| all().map(|method| method.buckets[number].get()).sum::<u64>();
            let bounds = BUCKETS.iter().map(|&micros| micros as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<_> =
                bounds.enumerate().map(|(number, bound)| (bound, bucket(number))).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let seconds = all().map(|method| method.nanos.get()).sum::<u64>() as f64 / 1e9;
            let labels = [("method", method)];
            let mut family = times.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}
