# A channel: values go in at one end and come out at the other, each to one receiver, in their order.
#
# Ids and the first ordinals of each interface are those of Wetware's channel.capnp, so that its
# clients can talk to this server. Everything else comes after them, by new ordinals only.
@0x872a451f9aa74ebf;

interface Closer @0xfad0e4b80d3779c3 {
  close @0 () -> ();
  # No value is taken in from here on. What is buffered is still received; then receivers learn of the
  # end. A call of `send` that waits fails, and so does a second `close`.
}

interface Sender @0xe8bbed1438ea16ee (T) {
  # The channel closes when its last sender is gone. A `Sender`, a `SendCloser` and a `Chan` are one; a
  # `Closer` is none.

  send @0 (value :T) -> ();
  # Answered when the value is in the buffer; without one, or while that is full, when a receiver has
  # taken it. A call that is given up before has sent nothing. Fails if the channel is closed, and if
  # there is no receiver any more.

  trySend @1 (value :T) -> (sent :Bool);
  # `send` without waiting: false if it would have to.
}

interface Recver @0xdf05a90d671c0c07 (T) {
  # When the last receiver is gone senders fail. A `Recver` and a `Chan` are one.

  recv @0 () -> (value :T);
  # The value that was sent first, as soon as there is one. A call that is given up has taken nothing,
  # unless its answer was on the way. Fails when the channel is closed and empty.

  tryRecv @1 () -> (received :Bool, value :T);
  # `recv` without waiting: `received` is false if it would have to.

  recvMany @2 (max :UInt32) -> (items :List(Item(T)));
  # As many as there are, at most `max` and as fit into one message, in their order; waits for the first.
}

interface SendCloser @0xe9a7d19a7d14e94e (T) extends(Sender(T), Closer) {
  newSender @0 () -> (sender :Sender(T));
  newCloser @1 () -> (closer :Closer);
}

interface Chan @0x95c89fe7d966f751 (T) extends(SendCloser(T), Recver(T)) {
  # Both ends. Who keeps it keeps the channel open: to learn that all senders are gone, keep a `Recver`.

  newSendCloser @0 () -> (sendCloser :SendCloser(T));
  newRecver @1 () -> (recver :Recver(T));

  len @2 () -> (len :UInt32);
  # How many values are in the buffer at this moment.

  capacity @3 () -> (capacity :UInt32);
  # How many it holds; without one, 0, each value is handed from a sender to a receiver.
}

struct Item(T) {
  value @0 :T;
}
