//! Hosts that are one tree.

#![allow(dead_code, unused_imports, reason = "parts of a whole")]

pub(crate) use crate::hosts::HostId;
mod ident;

pub use ident::{ClusterIdentity, ClusterIdentityError, ClusterSecret, ClusterSecretError};
