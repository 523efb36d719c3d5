//! Where an example finds its server: at the address in its first argument, or in its own process.

#![allow(dead_code, unreachable_pub, reason = "each example uses some of it")]

use killick_client::{Address, AddressError};
use killick_server::{Config, Server};

/// A server for one example.
pub struct Place {
    pub address: Address,
    server: Option<Server>,
    _folder: tempfile::TempDir,
}

impl Place {
    /// As the command line says: `cargo run -p killick-client --example NAME [ADDRESS]`.
    pub fn from_args() -> Result<Self, Box<dyn std::error::Error>> {
        match std::env::args().nth(1) {
            Some(address) => Place::at(&address).map_err(Into::into),
            None => Place::own(),
        }
    }

    fn at(address: &str) -> Result<Self, AddressError> {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        Ok(Place { address: address.parse()?, server: None, _folder: folder })
    }

    /// A server of the example's own.
    pub fn own() -> Result<Self, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let address = Address::Unix(folder.path().join("killick.sock"));
        let server = Server::start(Config::for_test([address.clone()]))?;
        Ok(Place { address, server: Some(server), _folder: folder })
    }

    /// Stops the example's own server and starts another in its place. Whether there is one.
    pub fn restart(&mut self) -> bool {
        let Some(server) = self.server.take() else { return false };
        server.stop();
        let config = Config::for_test([self.address.clone()]);
        self.server = Some(Server::start(config).expect("started again"));
        true
    }
}
