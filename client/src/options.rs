//! How patient a client is.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use crate::Identity;

/// How a [`Client`](crate::Client) behaves.
///
/// # Machines that vanish
/// No option: over TCP and TLS a server that says nothing for a minute is asked by the system whether its machine is
/// there, and a connection to one that leaves that, or what was sent to it, unanswered has ended two minutes after
/// its last word: what waits over it is [`Error::Disconnected`](crate::Error::Disconnected), and what goes on over
/// another connection does. A program that hangs on a machine that is there, and a server at a Unix socket,
/// are not asked.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use killick_client::{Options, Retry};
///
/// let impatient = Options {
///     timeout: Some(Duration::from_millis(200)),
///     retry: Retry::NONE,
///     ..Options::default()
/// };
/// assert_eq!(impatient.in_flight, Options::default().in_flight);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest that one operation takes: waiting for a connection, and every attempt, included.
    /// Without one it waits as long as the connection lasts. By default ten seconds.
    pub timeout: Option<Duration>,
    /// The longest that one attempt to connect takes, until the server has answered. By default three
    /// seconds.
    pub connect_timeout: Duration,
    /// How often, and after which pauses, something is tried again that was certainly not done, and that
    /// may succeed ([`Error::is_transient`](crate::Error::is_transient)).
    pub retry: Retry,
    /// Who this client is at a `tls:` address, which takes one; at others it is not shown. By default
    /// there is none.
    pub identity: Option<Identity>,
    /// Whether an absolute path to another host is walked over a connection of the client's own to that,
    /// instead of through the contacted one. By default it is not.
    ///
    /// It takes an identity, and a `tls:` address among [those of the host](crate::Member::addresses), whose
    /// certificate has to be of the same authorities; and the host that answers has to be the one that was
    /// meant, and give this client the whole of what it has. If there is no such connection, the path goes
    /// through the contacted host, and for a while, which grows, none is tried. One that is there closes
    /// when it was not used for a minute, unless something was changed over it, and when its host was restarted.
    ///
    /// What is reached is the same, in one hop less, and no longer goes when the contacted host does. What
    /// differs:
    /// - The other host sees this client, with its own key: its own line in that host's file of authorized keys
    ///   counts, not what the contacted host says of it; and the limits of one connection are met at each host.
    /// - Handles that came over two connections are never [the same](crate::Anchor::is_same), and calls
    ///   on two have no order.
    /// - A [`Value`](crate::Value) with capabilities is best stored where they came from: what came over
    ///   another connection is forwarded through this client, and dies with it. [`Client::store_at`](crate::Client::store_at)
    ///   goes through the contacted host if a capability in the value did.
    /// - With [`Client::disconnect`](crate::Client::disconnect) these connections stay.
    pub direct: bool,
    /// How many operations of one [`Batch`](crate::Batch) are in flight at a time, at least one. By
    /// default 64: beyond that a server gains little, and small enough for its limit of open calls.
    pub in_flight: usize,
}

impl Default for Options {
    /// Ten seconds an operation, three an attempt to connect, 64 operations of a batch in flight.
    fn default() -> Self {
        Options {
            timeout: Some(Duration::from_secs(10)),
            connect_timeout: Duration::from_secs(3),
            retry: Retry::default(),
            identity: None,
            direct: false,
            in_flight: 64,
        }
    }
}

/// A number of attempts, and growing pauses between them.
///
/// Each pause is chosen at random between half of its length and the whole of it, so that clients that
/// lost their server at the same moment do not come back at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many attempts there are, the first included. With none or one, nothing is tried again.
    pub attempts: u32,
    /// The first pause; each further one is twice as long.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
}

impl Retry {
    /// One attempt.
    pub const NONE: Retry =
        Retry { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };

    /// The pauses between the attempts.
    pub(crate) fn pauses(self) -> impl Iterator<Item = Duration> {
        (1..self.attempts).map(move |attempt| self.pause(attempt))
    }

    /// The pause after so many attempts, at least one.
    pub(crate) fn pause(self, attempts: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempts.saturating_sub(1));
        let pause = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        pause / 2 + (pause / 2).mul_f64(random())
    }
}

impl Default for Retry {
    /// Eight attempts, with pauses of 50 ms, 100 ms, and so on up to two seconds: some five seconds in
    /// all, for a server that restarts.
    fn default() -> Self {
        Retry {
            attempts: 8,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// A number from 0 up to 1.
fn random() -> f64 {
    // The keys of each hasher differ; what it says of nothing is as random as they are.
    let bits = RandomState::new().hash_one(());
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_at_least_half_of_that() {
        let retry = Retry {
            attempts: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_millis(300),
        };
        let pauses: Vec<_> = retry.pauses().collect();
        assert_eq!(pauses.len(), 4);
        for (pause, whole) in pauses.iter().zip([100, 200, 300, 300]) {
            let whole = Duration::from_millis(whole);
            assert!(*pause >= whole / 2 && *pause <= whole, "{pauses:?}");
        }
    }

    #[test]
    fn one_attempt_and_none_have_no_pause() {
        assert_eq!(Retry::NONE.pauses().count(), 0);
        assert_eq!(Retry { attempts: 0, ..Retry::default() }.pauses().count(), 0);
    }

    #[test]
    fn random_numbers_differ_and_stay_in_their_range() {
        let numbers: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(numbers.windows(2).any(|two| two[0] != two[1]));
    }
}
