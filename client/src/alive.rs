//! TCP connections to machines that are gone without a word: noticed by the system, which asks those that say
//! nothing. The two ends do so alike: what a client had goes with it, and a client that waits is told.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
    set_tcp_user_timeout,
};

/// How long a machine says nothing until it is asked, how long until it is asked again, and how often.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(15);
const TIMES: u32 = 4;
/// How long it may leave unanswered what it was asked or sent: the same two minutes in all, as one that is sent
/// something is not asked beside that.
const GONE_AFTER: Duration = Duration::from_secs(120);

/// What is said of such a machine.
pub const GONE: &str = "the other machine does not answer any more";

/// Has the connection end when the machine at its other end is gone.
pub fn keep_alive(stream: impl AsFd) -> io::Result<()> {
    let stream = stream.as_fd();
    set_tcp_keepidle(stream, ASK_AFTER)?;
    set_tcp_keepintvl(stream, ASK_AGAIN)?;
    set_tcp_keepcnt(stream, TIMES)?;
    set_tcp_user_timeout(stream, GONE_AFTER.as_millis() as u32)?;
    Ok(set_socket_keepalive(stream, true)?)
}

/// An error of a stream, of the kind of an end if it says that the other machine is gone: to the RPC system, one
/// that is out of time would be too busy.
pub fn gone(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => {
            io::Error::new(io::ErrorKind::ConnectionAborted, format!("{GONE} ({error})"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::io::Errno;
    use rustix::net::sockopt;

    use super::*;

    #[test]
    fn a_machine_that_says_nothing_is_gone_after_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let at = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(at).expect("connected");
        assert!(!sockopt::socket_keepalive(&stream).expect("an option"));
        keep_alive(&stream).expect("options");
        assert!(sockopt::socket_keepalive(&stream).expect("an option"));
        let idle = sockopt::tcp_keepidle(&stream).expect("an option");
        let between = sockopt::tcp_keepintvl(&stream).expect("an option");
        let times = sockopt::tcp_keepcnt(&stream).expect("an option");
        assert_eq!(idle + between * times, GONE_AFTER);
        let unanswered = sockopt::tcp_user_timeout(&stream).expect("an option");
        assert_eq!(Duration::from_millis(unanswered.into()), GONE_AFTER);
    }

    #[test]
    fn what_the_system_says_of_a_machine_that_is_gone_is_an_end() {
        for errno in [Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::NETDOWN] {
            let error = capnp::Error::from(gone(errno.into()));
            assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        }
        let other = gone(Errno::INVAL.into());
        assert_eq!(other.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
    }
}
