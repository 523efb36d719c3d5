//! Which of a server's limits an error is about.

/// A limit of a server's, each with its own setting there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// The length of a name.
    NameBytes,
    /// The length of a path.
    PathBytes,
    /// How deep a node lies.
    Depth,
    /// The children of one node.
    Children,
    /// The nodes of the tree.
    Nodes,
    /// The size of one value.
    ValueBytes,
    /// The capabilities in one value.
    ValueCapabilities,
    /// The size of all values together.
    StoredBytes,
    /// The channels of the server.
    Channels,
    /// The channels that one connection has made.
    ConnectionChannels,
    /// The processes that the server has started.
    Processes,
    /// How many values a channel may hold.
    ChannelCapacity,
    /// What one connection holds, or hosts.
    Capabilities,
    /// The nodes that one connection keeps alive.
    ConnectionNodes,
    /// The values that one connection has stored and that die with it.
    ConnectionValues,
    /// The watches of one connection, and its calls that wait for a value.
    Watches,
    /// The connections that are open.
    Connections,
    /// The open calls of one connection.
    Calls,
    /// The size of one call with all that it brings.
    MessageBytes,
    /// What the host of a capability leaves unread.
    Unread,
    /// Another one: the message names it.
    Other,
}

/// How each limit's message begins, and what it says further on.
const MESSAGES: [(Limit, &str, &str); 24] = [
    (Limit::NameBytes, "name of ", " exceeds the limit of "),
    (Limit::PathBytes, "path of ", " exceeds the limit of "),
    (Limit::Depth, "depth of ", " exceeds the limit of "),
    (Limit::Children, "a node at depth ", " already has its limit of "),
    (Limit::Children, "too many children", ""),
    (Limit::Nodes, "the tree would exceed its limit of ", " node"),
    (Limit::ValueBytes, "value of ", " exceeds the limit of "),
    (Limit::ValueCapabilities, "value with ", " exceeds the limit of "),
    (Limit::StoredBytes, "", "values here would exceed their limit of "),
    (Limit::Channels, "the server already has its limit of ", " channel"),
    (Limit::ConnectionChannels, "this connection already has its limit of ", " channel"),
    (Limit::Processes, "the server already has its limit of ", " process"),
    (Limit::ChannelCapacity, "channel of capacity ", " exceeds the limit of "),
    (Limit::ConnectionNodes, "this connection would hold more than its limit of ", " node"),
    (Limit::ConnectionValues, "this connection already has its limit of ", " value"),
    (Limit::Watches, "this connection already has its limit of ", " watch"),
    (Limit::Watches, "this connection would have more than its limit of ", " watch"),
    (Limit::Capabilities, "this connection already ", "its limit of "),
    (Limit::Connections, "the server already has its limit of ", " connection"),
    (Limit::Calls, "this connection has its limit of ", " call"),
    (Limit::Calls, "the open calls of this connection exceed their limit of ", ""),
    (Limit::MessageBytes, "message of ", EXCEEDS),
    (Limit::Calls, "a list of children of ", " exceeds the limit of "),
    (Limit::Unread, "the client that hosts this capability leaves more than its limit of ", ""),
];

/// What stands before the number of a limit.
const EXCEEDS: &str = " exceeds the limit of ";

/// How many bytes a message to a server may have that ends the connection with `words`, if it does so for one
/// that has more.
pub(crate) fn max_message_bytes(words: &str) -> Option<usize> {
    if Limit::of(words)? != Limit::MessageBytes {
        return None;
    }
    let number = words.split_once(EXCEEDS)?.1.split(' ').next()?;
    number.parse().ok()
}

impl Limit {
    /// The limit that a server's message is about.
    pub(crate) fn of(message: &str) -> Option<Self> {
        let (limit, ..) = MESSAGES.iter().find(|(_, start, further)| {
            message.strip_prefix(start).is_some_and(|rest| rest.contains(further))
        })?;
        Some(*limit)
    }

    /// Whether there may be room later, without any change of the call.
    ///
    /// # Examples
    /// ```
    /// use killick_client::Limit;
    ///
    /// assert!(Limit::Nodes.may_pass()); // others may let go of some
    /// assert!(!Limit::ValueBytes.may_pass()); // the value stays as large as it is
    /// ```
    pub fn may_pass(self) -> bool {
        match self {
            Limit::NameBytes
            | Limit::PathBytes
            | Limit::Depth
            | Limit::ValueBytes
            | Limit::ValueCapabilities
            | Limit::MessageBytes
            | Limit::ChannelCapacity => false,
            Limit::Children
            | Limit::Nodes
            | Limit::StoredBytes
            | Limit::Channels
            | Limit::ConnectionChannels
            | Limit::Processes
            | Limit::Capabilities
            | Limit::ConnectionNodes
            | Limit::ConnectionValues
            | Limit::Watches
            | Limit::Connections
            | Limit::Calls
            | Limit::Unread
            | Limit::Other => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_end_a_connection_or_are_another_clients_are_known_by_their_words() {
        for (message, limit) in [
            ("this connection has its limit of 4 calls open: an answered one counts", Limit::Calls),
            ("the open calls of this connection exceed their limit of 9 bytes: an", Limit::Calls),
            (
                "the client that hosts this capability leaves more than its limit of 9 bytes unread",
                Limit::Unread,
            ),
            ("this connection already hosts its limit of 3 capabilities", Limit::Capabilities),
            (
                "this connection would hold more than its limit of 9 nodes (max-connection-nodes)",
                Limit::ConnectionNodes,
            ),
            (
                "this connection would hold more than its limit of 4 nodes for one client of another host \
                 (max-connection-nodes)",
                Limit::ConnectionNodes,
            ),
            (
                "this connection already has its limit of 2 values that die with it",
                Limit::ConnectionValues,
            ),
            ("this connection already has its limit of 1 watch (max-watches)", Limit::Watches),
            ("the server already has its limit of 1 channel (max-channels)", Limit::Channels),
            (
                "the server already has its limit of 1 connection (max-connections)",
                Limit::Connections,
            ),
        ] {
            assert_eq!(Limit::of(message), Some(limit), "{message}");
        }
        let message = "message of 808 bytes exceeds the limit of 800 (max-message-bytes)";
        assert_eq!(Limit::of(message), Some(Limit::MessageBytes));
        assert_eq!(max_message_bytes(message), Some(800));
        assert_eq!(max_message_bytes("value of 9 bytes exceeds the limit of 8"), None);
        assert_eq!(Limit::of("no host 'a': the hosts are 'b' and 'self'"), None);
    }
}
