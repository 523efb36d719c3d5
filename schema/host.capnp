# A connection's bootstrap capability: the contacted host's own anchor, with the way to the cluster.
@0xa60c35349098ebe1;

using Anchor = import "anchor.capnp".Anchor;

interface Host extends(Anchor) {
  root @0 () -> (root :Anchor);
  # The cluster's anchor. Its children are the hosts, by id, and `self` for this one.

  info @1 () -> (info :HostInfo);
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
}
