//! TCP connections to machines that are gone without a word: noticed by the system, which asks those that say
//! nothing. What their clients had ends with them.

use std::io;
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
};
use tokio::net::TcpStream;

/// How long a machine says nothing until it is asked, how long until it is asked again, and how often: it is
/// gone after two minutes.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(15);
const TIMES: u32 = 4;

/// Has the connection end when the machine at its other end is gone.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    set_tcp_keepidle(stream, ASK_AFTER)?;
    set_tcp_keepintvl(stream, ASK_AGAIN)?;
    set_tcp_keepcnt(stream, TIMES)?;
    Ok(set_socket_keepalive(stream, true)?)
}
