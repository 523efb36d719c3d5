//! The socket, and what QUIC is told.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig,
    MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::net::sockopt;
use tracing::warn;

use super::FabricError;
use crate::cluster::ident::ClusterIdentity;

/// How large the socket's buffers are to be: with the kernel's own, packets get lost as soon as many come.
const BUFFER: usize = 4 << 20;

/// How many may wait for their handshake to begin.
const WAITING: usize = 1024;

/// The bounds of a fabric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How long a handshake may take, with all that it needs.
    pub(crate) dial: Duration,
    /// For how long a connection lasts over which nothing goes. Others are asked in turn: with fewer hosts than are
    /// asked in that time, none has to be dialed again.
    pub(crate) idle: Duration,
    /// For how long nothing may come over one over which something goes: the other side is taken for gone then.
    pub(crate) silence: Duration,
    /// How often something is sent over a connection that carries RPC.
    pub(crate) keepalive: Duration,
    /// The most handshakes of others under way at a time.
    pub(crate) handshakes: usize,
    /// The most connections.
    pub(crate) links: usize,
    /// The most streams of the other side in one connection.
    pub(crate) streams: u32,
    /// How long a host is not dialed after a dial has failed: twice as long each time, up to the second; a random
    /// part of the last half is left out.
    pub(crate) rest: [Duration; 2],
    /// The longest datagram, one at a time; without a bound, as long as come through, and many at a time where the
    /// system can.
    pub(crate) mtu: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dial: Duration::from_secs(3),
            idle: Duration::from_secs(300),
            silence: Duration::from_secs(10),
            keepalive: Duration::from_secs(3),
            handshakes: 64,
            links: 4096,
            streams: 256,
            rest: [Duration::from_millis(200), Duration::from_secs(2)],
            mtu: None,
        }
    }
}

/// An identity, as QUIC takes it.
pub(super) struct Standing {
    pub(super) identity: ClusterIdentity,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: ClientConfig,
}

impl Standing {
    pub(super) fn new(identity: ClusterIdentity, options: &Options) -> Result<Self, FabricError> {
        let unusable = |error: &dyn std::fmt::Display| FabricError::Unusable(error.to_string());
        let server = QuicServerConfig::try_from(identity.server());
        let client = QuicClientConfig::try_from(identity.dial());
        let mut server = ServerConfig::with_crypto(Arc::new(server.map_err(|e| unusable(&e))?));
        let mut client = ClientConfig::new(Arc::new(client.map_err(|e| unusable(&e))?));
        let transport = Arc::new(transport(options)?);
        server.transport_config(transport.clone()).max_incoming(WAITING);
        client.transport_config(transport);
        Ok(Standing { identity, server: Arc::new(server), client })
    }
}

fn transport(options: &Options) -> Result<TransportConfig, FabricError> {
    let mut transport = TransportConfig::default();
    let idle = options.idle.try_into();
    let idle = idle.map_err(|_| FabricError::Unusable("too long an idle time".to_owned()))?;
    transport
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(VarInt::from_u32(options.streams))
        // The one by which a dial ends.
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .receive_window(VarInt::from_u32(16 << 20))
        .datagram_receive_buffer_size(Some(256 << 10))
        .datagram_send_buffer_size(256 << 10);
    if let Some(mtu) = options.mtu {
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(mtu);
        transport.mtu_discovery_config(Some(discovery)).enable_segmentation_offload(false);
    }
    Ok(transport)
}

/// The endpoint at an address.
pub(super) fn endpoint(at: SocketAddr, standing: &Standing) -> Result<Endpoint, FabricError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => FabricError::InUse { at },
        _ => FabricError::Bind { at, error },
    };
    let socket = UdpSocket::bind(at).map_err(failed)?;
    enlarge(&socket).map_err(failed)?;
    // The same in each life of the host, so that the others know a reset for what it is.
    let key = standing.identity.derive("stateless reset");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(|| Box::new(ConnectionIds));
    let server = (*standing.server).clone();
    Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime)).map_err(failed)
}

/// Makes the socket's buffers as large as they should be, or as the kernel lets them be.
fn enlarge(socket: &UdpSocket) -> io::Result<()> {
    sockopt::set_socket_recv_buffer_size(socket, BUFFER)?;
    sockopt::set_socket_send_buffer_size(socket, BUFFER)?;
    // The kernel tells twice of what it gives.
    let got =
        [sockopt::socket_recv_buffer_size(socket)?, sockopt::socket_send_buffer_size(socket)?];
    let got = got.map(|bytes| bytes / 2);
    if got.iter().any(|&bytes| bytes < BUFFER) {
        let [receive, send] = got;
        warn!(
            "the socket of the cluster has buffers of {receive} and {send} bytes where {BUFFER} are \
             wanted: much data loses packets; net.core.rmem_max and net.core.wmem_max bound them"
        );
    }
    Ok(())
}

/// Random names of connections, and any is taken for one: the packets of a former life get a reset.
struct ConnectionIds;

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; 8];
        SystemRandom::new().fill(&mut bytes).expect("random numbers of the system");
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
