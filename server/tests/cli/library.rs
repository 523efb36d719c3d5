//! The command line and the Rust client mean the same values.

use killick_client::{Client, Kind, Options};

use super::support::{Ran, Server};

/// Runs `act` with a client of `server`. The program runs meanwhile, and the client waits.
fn connected(server: &Server, act: impl AsyncFnOnce(Client) -> Result<(), killick_client::Error>) {
    let address = server.address().parse().expect("an address");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(Default::default()).expect("a runtime");
    let acted = runtime.block_on(async {
        let client = Client::connect(&address, Options::default()).await?;
        act(client).await
    });
    acted.expect("the client's operations");
}

#[test]
fn what_the_command_line_stores_the_client_loads_as_the_same() {
    let server = Server::start();
    server.run(&["store", "text", "grüße"]).ok();
    server.run(&["store", "empty", ""]).ok();
    server.run_with(&["store", "--data", "data", "-"], b"\xff\x00").ok();
    connected(&server, async |client| {
        assert_eq!(client.load_at("text").await?.text(), Some("grüße"));
        assert_eq!(client.load_at("empty").await?.text(), Some(""));
        let data = client.load_at("data").await?.value.expect("a value");
        assert_eq!((data.kind(), data.data()), (Kind::Data, Some(&b"\xff\x00"[..])));
        Ok(())
    });
}

#[test]
fn what_the_client_stores_the_command_line_loads_as_the_same() {
    let server = Server::start();
    connected(&server, async |client| {
        client.store_at("text", "grüße", false).await?;
        client.store_at("data", &b"\xff\x00"[..], false).await?;
        Ok(())
    });
    assert_eq!(server.run(&["load", "text"]).ok(), "grüße\n");
    let kind = |ran: &Ran| ran.json()[0]["value"]["kind"].clone();
    assert_eq!(kind(&server.run(&["load", "--json", "text"])), "text");
    let data = server.run(&["load", "data"]);
    assert_eq!((data.code, &data.stdout[..]), (Some(0), &b"\xff\x00"[..]));
    assert_eq!(kind(&server.run(&["load", "--json", "data"])), "data");
}
