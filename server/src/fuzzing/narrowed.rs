//! A narrowed anchor of the honest client: it does what it was granted, and nothing else, until that is
//! taken back.

use capnp::{Error, ErrorKind};
use killick::{Allowance, Denied, Resource, Right, Rights};
use killick_client::internal::{put_limits, put_rights};
use killick_schema::api::anchor_capnp::anchor::{self, grant};

use super::honest::{answered, told, with_room};

pub(super) struct Narrowed {
    anchor: anchor::Client,
    grant: grant::Client,
    rights: Rights,
    is_revoked: bool,
}

/// Whether what is asked for exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exceeds {
    Nothing,
    /// If others have put a node there.
    Perhaps(Resource),
    Surely(Resource),
}

/// What is refused, and why.
fn refusal<T>(answer: Result<T, Error>) -> Option<Result<Denied, Error>> {
    let error = answer.err()?;
    Some(error.extra.trim_start_matches("remote exception: ").parse().map_err(|()| error))
}

impl Narrowed {
    /// `anchor` with some rights, and room for nothing. None if there is no room for that itself.
    pub(super) async fn of(anchor: &anchor::Client, rights: u8) -> Option<Self> {
        let is_granted = |right: &Right| rights & (1 << *right as u8) != 0;
        let rights: Rights = Right::ALL.into_iter().filter(is_granted).collect();
        let mut request = anchor.attenuate_request();
        put_rights(rights, request.get().init_rights());
        let none = Allowance::default().with(Resource::Nodes, 0).with(Resource::Watches, 0);
        put_limits(none, request.get().init_limits());
        let narrowed = with_room(request.send().promise).await?;
        let narrowed = narrowed.get().expect("narrowed");
        let (anchor, grant) = (narrowed.get_anchor().expect("one"), narrowed.get_grant());
        Some(Narrowed { anchor, grant: grant.expect("one"), rights, is_revoked: false })
    }

    /// Takes it back.
    pub(super) async fn revoke(&mut self) {
        answered(self.grant.revoke_request().send().promise).await;
        self.is_revoked = true;
        self.check().await;
    }

    /// Does all that there is to do, none of which changes anything.
    pub(super) async fn check(&self) {
        use Exceeds::{Nothing, Perhaps, Surely};
        use Right::{Attenuate, Load, Lookup, Ls, Store, Walk, Watch};
        let Narrowed { anchor, grant, .. } = self;
        let (nodes, watches) = (Resource::Nodes, Resource::Watches);
        let mut walk = anchor.walk_request();
        walk.get().set_path("beyond");
        self.expect(&[Walk], Surely(nodes), told(walk.send().promise).await);
        let mut lookup = anchor.lookup_request();
        lookup.get().set_path("beyond");
        self.expect(&[Lookup], Perhaps(nodes), told(lookup.send().promise).await);
        let listed = told(anchor.ls_request().send().promise).await;
        self.expect(&[Ls], Perhaps(nodes), listed);
        // Of an empty cell, nothing is taken out.
        let swapped = told(anchor.swap_request().send().promise).await;
        self.expect(&[Load, Store], Nothing, swapped);
        let watch = told(anchor.watch_request().send().promise).await;
        self.expect(&[Load, Watch], Surely(watches), watch);
        let narrower = told(anchor.attenuate_request().send().promise).await;
        self.expect(&[Attenuate], Nothing, narrower);
        let cell = told(anchor.cell_request().send().promise).await;
        if let Ok(cell) = &cell {
            let halves = cell.get().expect("a cell");
            assert_eq!(self.rights.contains(Load), halves.has_loader());
            assert_eq!(self.rights.contains(Store), halves.has_storer());
        }
        self.expect(&[], Nothing, cell);
        let info = answered(grant.info_request().send().promise).await;
        let info = info.get().expect("told");
        assert_eq!(info.get_revoked(), self.is_revoked);
        let used = info.get_used().expect("told");
        assert_eq!((used.get_nodes(), used.get_watches(), used.get_value_bytes()), (0, 0, 0));
    }

    /// `answer` is that of something for which all rights in `needed` are, and that `exceeds` a limit or not.
    fn expect<T>(&self, needed: &[Right], exceeds: Exceeds, answer: Result<T, Error>) {
        let is_missing = |right: &Right| !self.rights.contains(*right);
        let missing = needed.iter().any(is_missing);
        match (refusal(answer), exceeds) {
            (Some(Ok(refused)), _) if self.is_revoked => assert_eq!(refused, Denied::Revoked),
            (Some(Ok(Denied::Right(right))), _) => {
                assert!(needed.contains(&right) && is_missing(&right), "{needed:?}: {right}");
            }
            (
                Some(Ok(Denied::Exhausted { resource, limit: 0 })),
                Exceeds::Perhaps(its) | Exceeds::Surely(its),
            ) => assert!(!missing && its == resource, "{needed:?}: {resource}"),
            // There may be no room in the server.
            (Some(Err(error)), _) if error.kind == ErrorKind::Overloaded => {
                assert!(!missing && !self.is_revoked, "{needed:?}: {error}");
            }
            (None, Exceeds::Nothing | Exceeds::Perhaps(_)) => {
                assert!(!missing && !self.is_revoked, "{needed:?} is done");
            }
            (refused, _) => panic!("{needed:?}: {refused:?}"),
        }
    }
}
