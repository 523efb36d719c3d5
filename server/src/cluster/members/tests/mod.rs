//! Membership in virtual time: many cores, real packets, a network that loses, delays and cuts; all of it
//! follows from a seed. The driver has its own tests, over streams in memory.

mod driver;
mod fuzzed;
mod hostile;
mod liar;
mod simulation;
mod twins;
mod world;
