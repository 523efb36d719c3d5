// What the examples of the documentation run against: a server of their own.

use killick_client::{Address, Client, Error, Options};
use killick_server::{Config, Server};

pub fn with_client(example: impl AsyncFnOnce(Client) -> Result<(), Error>) {
    let folder = tempfile::tempdir().expect("a folder for the socket");
    let address = Address::Unix(folder.path().join("killick.sock"));
    let server = Server::start(Config::for_test([address.clone()])).expect("started");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(Default::default()).expect("a runtime");
    runtime
        .block_on(async {
            let client = Client::connect(&address, Options::default()).await?;
            example(client).await
        })
        .expect("an example that succeeds");
    server.stop();
}
