# The wire of an anchor: a register at a path, reached by capability.
#
# Ids, ordinals 0–2 of Anchor, ordinal 0 of Loader and Storer, and fields 0–1 of Child are those of
# Wetware's anchor.capnp, so that its clients can talk to this server. Everything else comes after
# them, by new ordinals and new fields only.
@0xefb5a91f96d44de3;

using Chan = import "channel.capnp".Chan;
using import "process.capnp".Command;
using import "process.capnp".Process;

interface Anchor {
  # A counted handle to a node. The node lives as long as a client holds this capability, the node
  # has children, or its cell holds a value. Paths are relative: there is no way up.

  ls @0 () -> (children :List(Child));
  # The children as one atomic snapshot, sorted by name.

  walk @1 (path :Text) -> (anchor :Anchor);
  # The anchor at `path`, creating the nodes that are missing.

  cell @2 () -> (loader :Loader, storer :Storer);
  # The right to read and the right to write this node's register, each on its own.

  lookup @3 (path :Text) -> (anchor :Anchor);
  # The anchor at `path` if it exists, otherwise null. Creates nothing.

  swap @4 (value :AnyPointer, bound :Bool) -> (previous :AnyPointer, revision :UInt64);
  # Stores the value, null to empty the cell, and returns the one it replaced. `revision` is the
  # cell's revision after the call. It reads and writes, so neither of a cell's two halves has it.
  # `bound` as in Storer.

  watch @5 (value :Bool = true, children :Bool) -> (watch :Watch);
  # The right to be told what the cell holds, or which children there are, or both: first the present
  # state, then whenever it changes. It ends when the capability is dropped.

  attenuate @6 (rights :Rights, limits :Limits) -> (anchor :Anchor, grant :Grant);
  # The same node with some of the rights alone, and within limits. What is reached through `anchor`
  # is narrowed the same way, for ever. Who holds `grant` can take it back; to drop it does not.

  newChan @7 (capacity :UInt32) -> (chan :Chan(AnyPointer));
  # A new channel on this host. It is at no path until somebody stores one of its ends.

  exec @8 (command :Command, anchor :Anchor) -> (process :Process);
  # Starts a program on this host. Its process gets a connection whose bootstrap capability is `anchor`,
  # and nothing else of the tree. The answer comes when the program runs, or could not be started. Only a
  # `Host` can, if the server allows it, and an anchor that was narrowed to the right to.

  struct Child {
    anchor @0 :Anchor;
    name @1 :Text;

    filled @2 :Bool;
    # Whether the child's cell held a value.

    childCount @3 :UInt64;
    # How many children the child had. This and `filled` are read after the snapshot.
  }

  interface Loader {
    load @0 () -> (value :AnyPointer, revision :UInt64);
    # The value, null if the cell is empty, and the revision: 0 for a fresh cell, one more with each
    # change. A revision means something only while the caller holds this node.

    wait @1 () -> (value :AnyPointer, revision :UInt64);
    # `load`, answered when the cell holds a value.
  }

  interface Storer {
    # The right to write without the right to read.
    #
    # A value with a capability that a client hosts dies with that client's connection: the cell is
    # emptied when it ends. A value that is stored `bound` dies with the connection that stored it.

    store @0 (value :AnyPointer, overwrite :Bool, bound :Bool)
        -> (succeeded :Bool, revision :UInt64);
    # Stores the value; null empties the cell. Without `overwrite`, only into an empty cell.
    # `revision` is the cell's revision after the call, whether or not it stored.

    compareAndStore @1 (value :AnyPointer, expected :UInt64, bound :Bool)
        -> (succeeded :Bool, revision :UInt64);
    # Stores only if the cell's revision is `expected`.
  }

  interface Watch {
    # What is not asked for does not wait: later changes overtake it, so a slow watcher sees fewer.

    next @0 (after :UInt64) -> (change :Change);
    # What is different from the change whose `sequence` is `after`, as soon as something is. If that is
    # not the one that was told last, 0 included, the answer is the whole state, at once: nothing is
    # missed when an answer was.
  }

  struct Change {
    sequence @0 :UInt64;
    # For the next call. Never 0.

    whole @1 :Bool;
    # Whether this is the whole state, and not what is different.

    valueChanged @2 :Bool;
    # Whether `value` and `revision` are told.

    value @3 :AnyPointer;
    revision @4 :UInt64;
    # As in Loader.load.

    added @5 :List(Entry);
    # Children that came, sorted by name; of the whole state, all that there are.

    removed @6 :List(Text);
    filled @7 :List(Text);
    # Those that stayed and whose cell now holds a value.

    emptied @8 :List(Text);
    # Those that stayed and whose cell no longer holds one.

    departures @9 :List(Departure);
    # Of the cluster's anchor: how each of `removed` went, in the same order. A host that was restarted is
    # in `removed` and in `added`: nothing of what it had is there any more.

    enum Departure {
      unknown @0;

      left @1;
      # It said that it goes.

      failed @2;
      # It has not been heard for long.

      restarted @3;
    }

    struct Entry {
      name @0 :Text;
      filled @1 :Bool;
    }
  }

  struct Rights {
    # What may be done through an anchor. None means none.

    walk @0 :Bool;
    # To create nodes.

    lookup @1 :Bool;
    # To reach the nodes below, those that are there.

    ls @2 :Bool;
    load @3 :Bool;
    store @4 :Bool;
    # To change cells, and to make channels. `swap` needs `load` as well.

    watch @5 :Bool;
    # To be told of changes: with `load` those of a cell, with `ls` those of the children.

    attenuate @6 :Bool;
    # To hand on a part of this.

    exec @7 :Bool;
    # To start programs. Whoever has an anchor that was not narrowed has no such right to give, but for the
    # host.
  }

  struct Limits {
    # What may be had at a time through an anchor, and all that was made of it by `attenuate` together.

    nodes @0 :UInt64 = 0xffffffffffffffff;
    # Nodes that are kept alive, the anchor's own and those above it apart.

    depth @1 :UInt64 = 0xffffffffffffffff;
    # Levels below the anchor.

    valueBytes @2 :UInt64 = 0xffffffffffffffff;
    # Bytes of stored values, those in channels included.

    watches @3 :UInt64 = 0xffffffffffffffff;
    channels @4 :UInt64 = 0xffffffffffffffff;
    processes @5 :UInt64 = 0xffffffffffffffff;
  }

  interface Grant {
    # What was given away by one call of `attenuate`.

    revoke @0 () -> ();
    # From the answer on, whatever was reached through the anchor fails, and what it alone kept alive is
    # gone. A second call changes nothing.

    info @1 () -> (rights :Rights, limits :Limits, used :Limits, revoked :Bool);
    # `used` is what is had at this moment; of `depth`, nothing is counted.
  }
}
