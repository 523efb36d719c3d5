# What one host of a cluster has of another: the bootstrap capability, both ways, of the connection between
# two of them.
@0xd1f24b6a0c7e9a35;

using Anchor = import "anchor.capnp".Anchor;

interface Peer {
  anchor @0 (behalf :Principal) -> (anchor :Anchor);
  # The anchor of this host as `behalf` may use it. Whoever asks is a host of the cluster, and is believed
  # about whom it asks for; what that one may do here is decided here.

  ended @1 (gone :List(Anchor)) -> ();
  # Of what whoever asks has given to this host these have ended, which others had hosted: a value that holds one is
  # none any more. They may have any interface, whatever the list says.

  struct Principal {
    # A client of another host.

    name @0 :Text;
    # As in that host's log.

    connection @1 :UInt64;
    # The number of its connection there.

    union {
      local @2 :Void;
      # Somebody on that machine, whose user is not known.

      user @3 :UInt32;
      # A user of that machine, by number.

      key @4 :Data;
      # The fingerprint of the client's key: SHA-256 of its public half.

      process @5 :Void;
      # One that the host has started.
    }
  }
}
