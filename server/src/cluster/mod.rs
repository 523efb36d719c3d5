//! Hosts that are one tree.

#![allow(dead_code, unused_imports, reason = "parts of a whole")]

mod id;

pub(crate) use id::HostId;
