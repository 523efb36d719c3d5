//! The client's side of a killick server: where it is found, and how it is reached.

#![forbid(unsafe_code)]

mod address;
mod dial;

pub use address::{Address, AddressError, default_address};
pub use dial::{Stream, dial};
