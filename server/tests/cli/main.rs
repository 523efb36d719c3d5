//! The command line as a user has it: the real program against a real server process.

mod access;
mod capabilities;
mod certificates;
mod channels;
mod demo;
mod ending;
mod errors;
mod grants;
mod holding;
mod import;
mod library;
mod listing;
mod operating;
mod paths;
mod processes;
mod settings;
mod support;
mod values;
mod watching;
