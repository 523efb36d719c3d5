//! What is told of the cluster by HTTP.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::fabric::Kind;
use crate::hosts::State;
use crate::shared::Shared;

/// Tells what is counted of the cluster, if the host takes part in one.
pub(crate) fn encode(shared: &Shared, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let Some(cluster) = shared.cluster.get() else { return Ok(()) };
    let view = shared.hosts.view();
    let help = "Hosts that are known, by their state";
    let mut hosts = encoder.encode_descriptor("cluster_hosts", help, None, MetricType::Gauge)?;
    for (state, name) in [
        (State::Up, "up"),
        (State::Suspect, "suspect"),
        (State::Left, "left"),
        (State::Failed, "failed"),
    ] {
        let count = view.hosts.values().filter(|host| host.state == state).count();
        ConstGauge::new(count as u64).encode(hosts.encode_family(&[("state", name)])?)?;
    }
    if shared.certificate_ends() > 0 {
        let help = "When the certificate ends that other hosts are shown, in seconds since 1970";
        let gauge = ConstGauge::new(shared.certificate_ends());
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor(
            "cluster_certificate_ends_seconds",
            help,
            None,
            kind,
        )?)?;
    }
    members(cluster.members(), encoder)?;
    let (fabric, peers) = cluster.fabric();
    let help = "Packets between hosts that were not sent, or not taken";
    let counter = ConstCounter::new(fabric.packets_dropped);
    counter.encode(encoder.encode_descriptor(
        "cluster_dropped_packets",
        help,
        None,
        counter.metric_type(),
    )?)?;
    let help = "Connections of others that were not let into the cluster, and why";
    let mut refused =
        encoder.encode_descriptor("cluster_refused_handshakes", help, None, MetricType::Counter)?;
    for (kind, count) in Kind::ALL.into_iter().zip(fabric.refused) {
        ConstCounter::new(count).encode(refused.encode_family(&[("reason", kind.name())])?)?;
    }
    let help = "How long an answer of another host takes, by its connection";
    let mut times =
        encoder.encode_descriptor("cluster_round_trip_seconds", help, None, MetricType::Gauge)?;
    for peer in &peers {
        let labels = [("host", peer.id.to_string())];
        ConstGauge::new(peer.rtt.as_secs_f64()).encode(times.encode_family(&labels)?)?;
    }
    for (name, help, value) in [
        (
            "cluster_connections",
            "Connections to other hosts",
            peers.iter().map(|peer| peer.connections as u64).sum::<u64>(),
        ),
        (
            "cluster_connected_hosts",
            "Other hosts that there is a connection to for calls",
            view.hosts.keys().filter(|host| shared.hosts.router.is_connected(**host, &view)).count()
                as u64,
        ),
    ] {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
    }
    let help = "What goes between hosts over the connections that there are, in UDP";
    let mut bytes =
        encoder.encode_descriptor("cluster_udp_bytes", help, None, MetricType::Gauge)?;
    for (direction, value) in [
        ("sent", peers.iter().map(|peer| peer.bytes_sent).sum::<u64>()),
        ("received", peers.iter().map(|peer| peer.bytes_received).sum()),
    ] {
        ConstGauge::new(value).encode(bytes.encode_family(&[("direction", direction)])?)?;
    }
    let lost = peers.iter().map(|peer| peer.packets_lost).sum::<u64>();
    let gauge = ConstGauge::new(lost);
    let help = "Packets in UDP that were lost, over the connections that there are";
    gauge.encode(encoder.encode_descriptor(
        "cluster_udp_lost_packets",
        help,
        None,
        gauge.metric_type(),
    )?)
}

/// Tells what membership has counted.
fn members(counts: super::members::Counts, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "What membership has sent and received, and what has come of it";
    let mut events =
        encoder.encode_descriptor("cluster_membership", help, None, MetricType::Counter)?;
    for (what, value) in [
        ("packets_in", counts.packets_in),
        ("packets_out", counts.packets_out),
        ("bytes_in", counts.bytes_in),
        ("bytes_out", counts.bytes_out),
        ("probes_failed", counts.probes_failed),
        ("suspicions", counts.suspicions),
        ("refutations", counts.refutations),
        ("renewals", counts.renewals),
        ("forged", counts.forged),
        ("malformed", counts.malformed),
        ("from_the_future", counts.from_the_future),
        ("no_place", counts.no_place),
        ("errors", counts.errors),
        ("syncs", counts.syncs),
        ("pulls", counts.pulls),
        ("answered", counts.answered),
        ("broken", counts.broken),
    ] {
        ConstCounter::new(value).encode(events.encode_family(&[("what", what)])?)?;
    }
    Ok(())
}
