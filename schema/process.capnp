# A process of the operating system that a host has started.
#
# The file's id and methods 0 and 1 of Process are those of Wetware's process.capnp.
@0x9a51e53177277763;

interface Process {
  # A program that was started by `Anchor.exec`. When it ends, so do all that it has started, its
  # connection, and, unless it is to be kept, the values that hold this capability.

  wait @0 () -> (exitCode :UInt32);
  # Answered when it has ended, at once if it has: its exit code, or 128 and the number of the signal
  # that ended it.

  kill @1 () -> ();
  # Ends it, and all that it has started. It has ended when this is answered. An error if it had ended.

  status @2 () -> (status :Status);

  signal @3 (number :UInt32) -> ();
  # Sends a signal to its process group. An error if it has ended.

  stdin @4 () -> (stdin :ByteSink);
  stdout @5 () -> (stdout :ByteSource);
  stderr @6 () -> (stderr :ByteSource);
  # Its streams. Errors if they are not piped.

  bootstrap @7 () -> (capability :Capability);
  # The bootstrap capability of the process's end of its connection. Answered when the process has told
  # it; an error if it exports none, or has ended.
}

struct Command {
  # What to start, and how.

  program @0 :Text;
  # An absolute path, or a name without '/' that is looked for in the server's PATH.

  args @1 :List(Data);
  # The arguments after the program's name. None may have a zero byte.

  env @2 :List(Variable);
  # All of its environment, but for KILLICK_FD: the number of the descriptor of its connection.

  cwd @3 :Data;
  # Where it starts: an absolute path; `/` if there is none.

  stdin @4 :Stream;
  stdout @5 :Stream;
  stderr @6 :Stream;

  lifetime @7 :Lifetime;

  keep @8 :Bool;
  # Whether values that hold the process stay when it has ended.

  bounds @9 :Bounds;

  struct Variable {
    name @0 :Data;
    value @1 :Data;
  }

  enum Stream {
    null @0;
    # Nothing to be read, and what is written is dropped.

    piped @1;
    # What nobody reads waits in the pipe, and then the process does.
  }

  enum Lifetime {
    # What ends the process if it does not end by itself. The end of the server always does, and that of
    # the process that has started it.

    own @0;
    # Nothing else.

    reference @1;
    # The release of the last reference to it, those in values included.

    connection @2;
    # The end of the connection that has started it.
  }

  struct Bounds {
    # What the operating system lets each process have. 0 is no bound but the server's own.

    cpuSeconds @0 :UInt64;
    memoryBytes @1 :UInt64;
    # Of address space.

    openFiles @2 :UInt64;
    processes @3 :UInt64;
    # Of the user at a time, all others included.

    fileBytes @4 :UInt64;
    # The largest file that it can write.
  }
}

struct Status {
  union {
    running @0 :Void;
    exited @1 :UInt32;
    # The exit code.

    signalled @2 :UInt32;
    # The signal that ended it.
  }

  pid @3 :UInt32;
  # The system's number of the process; of one that has ended, another may have it.

  program @4 :Text;

  ageMillis @5 :UInt64;
  # Since it was started, until now or until it ended, in milliseconds.
}

interface ByteSource {
  # Bytes that come out of a process: each to one reader.

  read @0 (maxBytes :UInt32) -> (data :Data);
  # Some bytes, as soon as there are any, at most so many, or as many as one answer may have: 0 asks for
  # that. None at the end. Bytes whose answer does not arrive are lost.
}

interface ByteSink {
  # Where bytes go into a process.

  write @0 (data :Data) -> ();
  # Answered when all are in the pipe. If it is given up, or fails, some may be.

  close @1 () -> ();
  # The process reads the end. A second close, or a write after it, is an error.
}
