# A connection's bootstrap capability: the contacted host's own anchor, with the way to the cluster.
@0xa60c35349098ebe1;

using Anchor = import "anchor.capnp".Anchor;

interface Host extends(Anchor) {
  root @0 () -> (root :Anchor);
  # The cluster's anchor. Its children are the hosts, by id, and `self` for this one.

  info @1 () -> (info :HostInfo);

  clients @2 () -> (clients :List(ClientInfo));
  # The connections open at this moment, the oldest first, this one included.

  hosts @3 () -> (hosts :List(Member));
  # The hosts of the cluster as this one knows them, by id: this one, those that are up, and for some time
  # those that are not any more. Without a cluster, this one alone.
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

  generation @12 :UInt64;
  # When it was started, in milliseconds since 1970: what was kept of it before is gone.

  cluster @13 :Text;
  # The name of its cluster; none if it is alone.

  fullId @14 :Text;
  # The first 32 hex digits of its key's fingerprint, of which `id` is the first half.

  hosts @15 :UInt32;
  # Hosts of the cluster that are up, as far as this one knows, itself included.

  certificateEnds @16 :UInt64;
  # When the certificate ends that it shows other hosts, in seconds since 1970; 0 if it does not.
}

struct Member {
  # One host of a cluster.

  id @0 :UInt64;
  # Shown as 16 hex digits: the first component of an absolute path.

  fullId @1 :Text;
  # The first 32 hex digits of its key's fingerprint.

  generation @2 :UInt64;
  # When it was started, in milliseconds since 1970.

  state @3 :State;

  sinceMillis @4 :UInt64;
  # How long it has been in that state, as this host has seen it.

  hostname @5 :Text;
  version @6 :Text;
  # Of the program that serves, as in "0.1.0". As the other texts, empty while it is not known yet.

  addresses @7 :List(Text);
  # Where clients reach it, as in "tls:db.example.org:7200".

  cluster @8 :Text;
  # Where other hosts reach it: an address and a port.

  tags @9 :List(Tag);

  connected @10 :Bool;
  # Whether this host has a connection to it for calls.

  self @11 :Bool;
  # Whether it is this host.

  enum State {
    up @0;

    suspect @1;
    # It is up, and has not answered.

    left @2;
    # It said that it goes.

    failed @3;
    # It has not been heard for long.
  }

  struct Tag {
    key @0 :Text;
    value @1 :Text;
  }
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
