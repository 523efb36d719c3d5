# The wire of an anchor: a register at a path, reached by capability.
#
# Ids, ordinals 0–2 of Anchor, ordinal 0 of Loader and Storer, and fields 0–1 of Child are those of
# Wetware's anchor.capnp, so that its clients can talk to this server. Everything else comes after
# them, by new ordinals and new fields only.
@0xefb5a91f96d44de3;

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
}
