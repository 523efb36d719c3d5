//! What a server says first, which over TLS is how it says that it does not let a client in: the client has
//! made its side of the handshake before the server has judged what it showed there.
//!
//! A server that knows no such certificate ends the handshake with an alert. One that does not let in the
//! key breaks the stream off, and so does one that stops before it has served anything. One that stops
//! later ends it in order, and one that is full says so, or ends it before the handshake: both may take this
//! client another time.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::AsyncRead;

use crate::dial::end_is_an_end;
use crate::identity::Fingerprint;
use crate::meaning::meaning;

/// What came first.
#[derive(Default)]
enum First {
    #[default]
    Nothing,
    /// Bytes, or an end in order.
    Something,
    /// The stream was broken off.
    Break,
    /// TLS says that something is wrong.
    Tls(rustls::Error),
}

/// What a server said first, as who [listens](Greeting::listen) to it knows.
#[derive(Clone, Default)]
pub(crate) struct Greeting(Rc<RefCell<First>>);

/// A stream that notes what comes first.
pub(crate) struct Listening<R> {
    reader: R,
    greeting: Greeting,
}

/// The server does not let this client in.
#[derive(Debug)]
struct NotLetIn {
    key: Fingerprint,
    /// The alert that it sent, if it did.
    alert: Option<rustls::Error>,
}

impl Greeting {
    pub(crate) fn listen<R>(&self, reader: R) -> Listening<R> {
        Listening { reader, greeting: self.clone() }
    }

    /// Why there is no connection over TLS for `key`, if what came first is that there is none.
    pub(crate) fn kept_out(&self, key: Fingerprint) -> Option<io::Error> {
        let alert = match &*self.0.borrow() {
            First::Nothing | First::Something => return None,
            First::Break => None,
            First::Tls(alert @ rustls::Error::AlertReceived(_)) => Some(alert.clone()),
            First::Tls(other) => {
                return Some(io::Error::new(io::ErrorKind::InvalidData, other.clone()));
            }
        };
        Some(io::Error::new(io::ErrorKind::PermissionDenied, NotLetIn { key, alert }))
    }

    fn note(&self, read: &io::Result<usize>) {
        let mut first = self.0.borrow_mut();
        if !matches!(&*first, First::Nothing) {
            return;
        }
        *first = match read {
            Ok(_) => First::Something,
            Err(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                inner.map_or(First::Break, |error| First::Tls(error.clone()))
            }
        };
    }
}

/// Whether `error` is that a server broke the stream off before it said anything.
pub(crate) fn is_break(error: &io::Error) -> bool {
    let not_let_in = error.get_ref().and_then(|inner| inner.downcast_ref::<NotLetIn>());
    not_let_in.is_some_and(|not_let_in| not_let_in.alert.is_none())
}

/// The error of some key that is not let in.
#[cfg(test)]
pub(crate) fn kept_out(alert: Option<rustls::Error>) -> io::Error {
    let key = Fingerprint::of_key(b"a key");
    io::Error::new(io::ErrorKind::PermissionDenied, NotLetIn { key, alert })
}

impl<R: AsyncRead + Unpin> AsyncRead for Listening<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.reader).poll_read(context, buffer);
        if let Poll::Ready(read) = &read {
            self.greeting.note(read);
        }
        end_is_an_end(read)
    }
}

impl fmt::Display for NotLetIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server does not let in the key {}: ", self.key)?;
        match &self.alert {
            Some(alert) => {
                if let Some(means) = meaning(&alert.to_string(), "the server's", "your") {
                    write!(f, "{means}: ")?;
                }
                alert.fmt(f)
            }
            None => f.write_str(
                "it broke off the connection: has its authorized file a line with this key?",
            ),
        }
    }
}

impl std::error::Error for NotLetIn {}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt, FutureExt};
    use rustls::AlertDescription::{CertificateRequired, DecryptError};

    use super::*;

    /// A stream from which this is read, over and over.
    struct Always(fn() -> io::Result<usize>);

    impl AsyncRead for Always {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready((self.0)())
        }
    }

    fn key() -> Fingerprint {
        Fingerprint::of_key(b"a key")
    }

    /// What `reads` come to, one after the other, and what the last of them is to who reads.
    fn greeted(reads: &[fn() -> io::Result<usize>]) -> (Option<io::Error>, io::Result<usize>) {
        let (greeting, mut last) = (Greeting::default(), Ok(0));
        for read in reads {
            let mut stream = greeting.listen(Always(*read));
            last = stream.read(&mut [0; 8]).now_or_never().expect("at once");
        }
        (greeting.kept_out(key()), last)
    }

    fn alert(description: rustls::AlertDescription) -> io::Result<usize> {
        let error = rustls::Error::AlertReceived(description);
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn a_stream_that_is_broken_off_at_once_is_of_a_server_that_does_not_let_in_the_key() {
        let (error, last) = greeted(&[|| Err(io::ErrorKind::UnexpectedEof.into())]);
        let error = error.expect("kept out");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let expected = format!("the server does not let in the key {}: ", key());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(last.expect("an end"), 0);
        let (error, last) = greeted(&[|| Err(io::ErrorKind::ConnectionReset.into())]);
        assert_eq!(error.expect("kept out").kind(), io::ErrorKind::PermissionDenied);
        assert!(last.is_err());
    }

    #[test]
    fn an_alert_is_of_a_server_that_does_not_let_in_the_key_and_says_which() {
        let alerts: [fn() -> _; 2] = [|| alert(DecryptError), || alert(CertificateRequired)];
        for (read, name) in alerts.into_iter().zip(["DecryptError", "CertificateRequired"]) {
            let error = greeted(&[read]).0.expect("kept out");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().ends_with(name), "{error}");
        }
        let broken =
            || Err(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError));
        let error = greeted(&[broken]).0.expect("no connection");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_server_that_said_something_or_ended_in_order_lets_in_the_key() {
        assert!(greeted(&[]).0.is_none());
        assert!(greeted(&[|| Ok(0)]).0.is_none());
        assert!(greeted(&[|| Ok(8), || Err(io::ErrorKind::UnexpectedEof.into())]).0.is_none());
        assert!(greeted(&[|| Ok(8), || alert(DecryptError)]).0.is_none());
    }
}
