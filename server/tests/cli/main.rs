//! The command line as a user has it: the real program against a real server process.

mod access;
mod capabilities;
mod certificates;
mod channels;
#[path = "../support/contact.rs"]
mod contact;
mod demo;
mod ending;
mod errors;
mod grants;
mod holding;
mod hosts;
mod import;
mod library;
mod listing;
mod operating;
mod paths;
mod processes;
mod settings;
mod support;
mod usage;
mod values;
mod watching;
