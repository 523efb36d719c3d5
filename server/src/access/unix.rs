//! Clients of a Unix socket, by what the kernel says of the process that has connected.

use tokio::net::UnixStream;

/// The user and the group that a process had when it connected: its effective ones. Groups that it has
/// besides are not among them.
///
/// Both are numbers of the server's own user namespace; whoever has none there shows as 65534.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Credentials {
    /// Those of the process at the other end, and its number, which is for people to read alone: it may
    /// be another process's by now.
    pub(crate) fn of(stream: &UnixStream) -> std::io::Result<(Self, Option<i32>)> {
        let peer = stream.peer_cred()?;
        Ok((Credentials { user: peer.uid(), group: peer.gid() }, peer.pid()))
    }

    /// Whether it may connect to a server of user `own`: that user may, root, who can become that user
    /// anyway, and those in the lists.
    pub(crate) fn allowed(self, own: u32, users: &[u32], groups: &[u32]) -> bool {
        const ROOT: u32 = 0;
        self.user == own
            || self.user == ROOT
            || users.contains(&self.user)
            || groups.contains(&self.group)
    }
}

/// The mode of a socket file: for the server's user alone, unless others are allowed. Then it lets everybody
/// through, as no mode says what the lists do, and each connection is judged by its credentials.
pub(crate) fn socket_mode(users: &[u32], groups: &[u32]) -> u32 {
    if users.is_empty() && groups.is_empty() { 0o600 } else { 0o666 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_user_and_root_may_connect_and_others_only_by_the_lists() {
        let process = |user, group| Credentials { user, group };
        assert!(process(1000, 1000).allowed(1000, &[], &[]));
        assert!(process(0, 0).allowed(1000, &[], &[]));
        assert!(!process(1001, 1000).allowed(1000, &[], &[]), "the group alone says nothing");
        assert!(!process(1000, 1000).allowed(0, &[], &[]), "a server of root's is root's");
        assert!(process(1001, 50).allowed(1000, &[7, 1001], &[]));
        assert!(process(1002, 50).allowed(1000, &[7, 1001], &[50]));
        assert!(!process(1002, 51).allowed(1000, &[7, 1001], &[50]));
        assert!(!process(50, 7).allowed(1000, &[7], &[50]), "a user is no group");
        assert!(
            process(1000, 51).allowed(1000, &[7], &[50]),
            "a list does not shut out the server's"
        );
    }

    #[test]
    fn a_socket_is_open_to_others_only_if_some_are_allowed() {
        assert_eq!(socket_mode(&[], &[]), 0o600);
        assert_eq!(socket_mode(&[1], &[]), 0o666);
        assert_eq!(socket_mode(&[], &[1]), 0o666);
    }
}
