//! The contract, a test for every promise in it, through the public interface alone.

mod cells;
mod close;
mod handles;
mod limits;
mod nodes;
mod paths;
mod watches;
mod wide;
