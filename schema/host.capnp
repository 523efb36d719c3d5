# A connection's bootstrap capability: the contacted host's own anchor, with the way to the cluster.
@0xa60c35349098ebe1;

using Anchor = import "anchor.capnp".Anchor;

interface Host extends(Anchor) {
  root @0 () -> (root :Anchor);
  # The cluster's anchor. Its children are the hosts, by id, and `self` for this one.

  info @1 () -> (info :HostInfo);

  clients @2 () -> (clients :List(ClientInfo));
  # The connections open at this moment, the oldest first, this one included.
}

struct HostInfo {
  id @0 :UInt64;
  # Shown as 16 hex digits: the first component of an absolute path.

  version @1 :Text;
  # Of the program that serves, as in "0.1.0".

  hostname @2 :Text;

  uptimeMillis @3 :UInt64;
  # Since the server started, in milliseconds.

  nodes @4 :UInt64;
  # Nodes in the host's tree, its root included.

  residentBytes @5 :UInt64;
  # Resident memory of the server's process; 0 where the platform does not tell.

  connections @6 :UInt64;
  # Connections open at this moment, this one included.

  threads @7 :UInt32;
  # Threads that serve connections.

  cpuMicros @8 :UInt64;
  # Processor time that the server's process has taken since it started, in microseconds.

  calls @9 :UInt64;
  # Calls that clients have made since the server started.

  storedBytes @10 :UInt64;
  # Bytes of the values in cells, and of those that were replaced and not yet reclaimed.

  processes @11 :UInt32;
  # Processes that it has started and that have not ended, or whose output has not been read.
}

struct ClientInfo {
  # One connection. Numbers that change are those of a moment, not all of the same one.

  id @0 :UInt64;
  # From 1, in the order in which they came.

  peer @1 :Text;
  # Who it is, as in the server's log.

  ageMillis @2 :UInt64;
  # Since it was accepted, in milliseconds.

  thread @3 :UInt32;
  # The thread that serves it, from 0.

  calls @4 :UInt64;
  # Calls that it has made.

  running @5 :UInt32;
  # Those of them that are not done.

  bytesRead @6 :UInt64;
  bytesWritten @7 :UInt64;

  handles @8 :UInt32;
  # Capabilities that it holds.

  hosted @9 :UInt32;
  # Capabilities that it hosts and somebody has a claim to.

  watches @10 :UInt32;
  # What its watches, and its calls that wait for a value, count as.

  channels @11 :UInt32;
  # Channels that it has made and that exist.
}
