//! Several hosts, as real processes that talk over the network, and what can happen to them.
#![cfg(feature = "cluster")]

mod failing;
mod harness;
mod joining;
mod namespaces;
