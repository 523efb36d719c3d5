//! Narrowed anchors through the client: every operation that is not granted says which right is missing.

mod support;

use killick_client::{Allowance, Anchor, Client, Denied, Error, Resource, Right, Rights};
use support::over_both;

/// The part of `client`'s tree at "part" that `rights` allow.
async fn part(client: &Client, rights: Rights) -> Anchor {
    let anchor = client.walk("part").await.unwrap();
    anchor.attenuate(rights, Allowance::default()).await.unwrap().0
}

fn missing<T>(result: Result<T, Error>) -> Option<Right> {
    match result {
        Err(Error::Denied(Denied::Right(right))) => Some(right),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => None,
    }
}

#[test]
fn each_operation_says_which_right_is_missing() {
    over_both(async |client| {
        client.store_at("part/a", "x", true).await.unwrap();
        let none = part(&client, Rights::NONE).await;
        assert_eq!(missing(none.walk("a").await), Some(Right::Walk));
        assert_eq!(missing(none.lookup("a").await), Some(Right::Lookup));
        assert_eq!(missing(none.ls().await), Some(Right::Ls));
        assert_eq!(missing(none.ls_at("a").await), Some(Right::Lookup));
        assert_eq!(missing(none.load().await), Some(Right::Load));
        assert_eq!(missing(none.load_at("a").await), Some(Right::Lookup));
        assert_eq!(missing(none.store("x", true).await), Some(Right::Store));
        assert_eq!(missing(none.store_at("a", "x", true).await), Some(Right::Walk));
        assert_eq!(missing(none.store_at("a", None, true).await), Some(Right::Lookup));
        assert_eq!(missing(none.compare_and_store(0, "x").await), Some(Right::Store));
        assert_eq!(missing(none.swap("x").await), Some(Right::Store));
        let (loader, storer) = none.cell();
        assert_eq!(missing(loader.load().await), Some(Right::Load));
        assert_eq!(missing(storer.store("x", true).await), Some(Right::Store));

        let walker = part(&client, Rights::from(Right::Walk) | Right::Lookup.into()).await;
        assert_eq!(missing(walker.load_at("a").await), Some(Right::Load));
        assert_eq!(missing(walker.store_at("a", "y", true).await), Some(Right::Store));
        assert_eq!(missing(walker.store_at("a", None, true).await), Some(Right::Store));
        assert_eq!(missing(walker.ls_at("a").await), Some(Right::Ls));
        assert_eq!(client.load_at("part/a").await.unwrap().text(), Some("x"));
    });
}

#[test]
fn what_is_exhausted_may_be_had_later_and_what_is_revoked_never() {
    over_both(async |client| {
        let allowance = Allowance { nodes: 1, ..Allowance::default() };
        let anchor = client.walk("part").await.unwrap();
        let (narrow, grant) = anchor.attenuate(Rights::ALL, allowance).await.unwrap();
        let one = narrow.walk("one").await.unwrap();
        let error = narrow.walk("two").await.unwrap_err();
        let expected = Denied::Exhausted { resource: Resource::Nodes, limit: 1 };
        assert!(matches!(error, Error::Denied(denied) if denied == expected), "{error}");
        assert!(error.is_transient());
        drop(one);
        support::eventually("room", async || narrow.walk("two").await.is_ok()).await;
        grant.revoke().await.unwrap();
        let error = narrow.walk("two").await.unwrap_err();
        assert!(matches!(error, Error::Denied(Denied::Revoked)) && !error.is_transient());
        // So on the halves that were there before, and on those that are asked for now.
        let error = narrow.cell().0.load().await.unwrap_err();
        assert!(matches!(error, Error::Denied(Denied::Revoked)), "{error}");
    });
}
