//! Several hosts, as real processes that talk over the network, and what can happen to them.
#![cfg(feature = "cluster")]

mod adversity;
mod clocks;
mod crowd;
mod failing;
mod granting;
mod harness;
mod joining;
mod namespaces;
mod proving;
mod sharing;
mod showing;
mod spoofing;
mod starting;
mod twins;
