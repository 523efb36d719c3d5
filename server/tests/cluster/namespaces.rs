//! Hosts in network namespaces of their own.

/// Has this thread go into a network namespace.
pub(crate) fn enter(_space: &str) {}
