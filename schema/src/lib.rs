//! The wire of killick: the Cap'n Proto schema, and the Rust that `capnpc` makes of it.
//!
//! | file | what it describes |
//! |---|---|
//! | `anchor.capnp` | [`Anchor`](api::anchor_capnp::anchor), its loader and its storer, watches, rights |
//! | `channel.capnp` | [`Chan`](api::channel_capnp::chan) and its ends |
//! | `cluster.capnp` | [`Peer`](api::cluster_capnp::peer): what one host has of another |
//! | `host.capnp` | [`Host`](api::host_capnp::host): a connection's bootstrap capability |
//! | `process.capnp` | [`Process`](api::process_capnp::process): what a host has started |
//!
//! The generated code is part of the package, so that building needs no `capnp` tool. After a change
//! of a schema file, or of the version of `capnpc`, write it anew with
//!
//! ```text
//! KILLICK_REGENERATE=1 cargo test -p killick-schema --test generated
//! ```
//!
//! Without the variable that test compares, wherever a `capnp` tool is on the `PATH`.
//!
//! The numbers of the file, its types, its methods and its fields are shared with other
//! implementations and never change; what is added takes new ones.
//!
//! # Examples
//! A message can be built and read without any connection:
//! ```
//! use killick_schema::api::anchor_capnp::anchor;
//!
//! let mut message = capnp::message::Builder::new_default();
//! let mut child = message.init_root::<anchor::child::Builder>();
//! child.set_name("mailbox");
//! child.set_child_count(2);
//! assert_eq!(child.into_reader().get_name()?, "mailbox");
//! # Ok::<(), capnp::Error>(())
//! ```

#![forbid(unsafe_code)]

/// The generated modules, one for each schema file.
pub mod api {
    #[rustfmt::skip]
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod anchor_capnp;

    #[rustfmt::skip]
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod channel_capnp;

    #[rustfmt::skip]
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod cluster_capnp;

    #[rustfmt::skip]
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod host_capnp;

    #[rustfmt::skip]
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod process_capnp;
}
