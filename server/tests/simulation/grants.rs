//! Grants: a client narrows the anchor of a register, and stores that and the grant where everybody finds
//! them. Others use the one, and take it back by the other.

use capnp::ErrorKind;
use capnp::capability::FromClientHook;
use killick::{Allowance, Denied, Resource, Right, Rights};
use killick_client::internal::{no_half, put_limits, put_rights};
use killick_schema::api::anchor_capnp::anchor::{self, grant};

use crate::client::KEPT;
use crate::dice::Dice;
use crate::link::{Link, Put, cell, lookup, ls, walk};
use crate::record::{How, Record, Time, now};

/// What was granted.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// By which start of the server.
    server: usize,
    register: &'static str,
    rights: Rights,
    /// The limit of nodes.
    nodes: usize,
    /// When somebody first began to take it back, and when it was first known to be.
    revoking: Option<Time>,
    revoked: Option<Time>,
    /// The revision of the register at some moment after that.
    settled: Option<u64>,
}

/// Something done through it, and answered: with the revision that it made, if it is a write.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    given: usize,
    right: Right,
    start: Time,
    end: Time,
    outcome: Result<Option<u64>, Denied>,
}

/// All that was done with grants.
#[derive(Default)]
pub(crate) struct Grants {
    given: Vec<Given>,
    uses: Vec<Use>,
}

fn place(number: usize, what: &str) -> String {
    format!("given/{number}/{what}")
}

/// What an error that is an answer says of a grant.
fn denied(error: &capnp::Error) -> Option<Denied> {
    error.extra.trim_start_matches("remote exception: ").parse().ok()
}

/// Whether an error is an answer, and not the end of the connection.
pub(crate) fn is_refused(error: &capnp::Error) -> bool {
    !matches!(error.kind, ErrorKind::Disconnected | ErrorKind::PrematureEndOfFile)
}

/// Narrows the anchor of a register.
pub(crate) async fn give(link: &Link, dice: &mut Dice) -> capnp::Result<()> {
    let register = *dice.pick(&KEPT);
    let mask = dice.below(128);
    let rights = Right::ALL.into_iter().filter(|right| mask & (1 << *right as u8) != 0).collect();
    let nodes = usize::try_from(dice.below(3)).expect("a few");
    let whole = walk(&link.anchor, register).await?;
    let mut request = whole.attenuate_request();
    put_rights(rights, request.get().init_rights());
    let limits = Allowance::default().with(Resource::Nodes, nodes);
    put_limits(limits, request.get().init_limits());
    let response = request.send().promise.await?;
    let (narrow, grant) = (response.get()?.get_anchor()?, response.get()?.get_grant()?);
    let number = link.record.gives(link.number, register, rights, nodes);
    put(link, &place(number, "grant"), grant.client.hook).await?;
    put(link, &place(number, "anchor"), narrow.client.hook).await
}

async fn put(
    link: &Link,
    path: &str,
    cap: Box<dyn capnp::private::capability::ClientHook>,
) -> capnp::Result<()> {
    let anchor = walk(&link.anchor, path).await?;
    let mut request = cell(&anchor).1.store_request();
    request.get().init_value().set_as_capability(cap);
    request.send().promise.await.map(drop)
}

/// What is stored of a grant, if it is there.
async fn find<C: FromClientHook>(
    link: &Link,
    number: usize,
    what: &str,
) -> capnp::Result<Option<C>> {
    let anchor = walk(&link.anchor, &place(number, what)).await?;
    let loaded = cell(&anchor).0.load_request().send().promise.await?;
    let value = loaded.get()?.get_value();
    if value.is_null() { Ok(None) } else { value.get_as_capability().map(Some) }
}

/// Does something through what was granted.
pub(crate) async fn use_one(link: &Link, dice: &mut Dice) -> capnp::Result<()> {
    let Some((number, given)) = link.record.pick(link.number, dice) else { return Ok(()) };
    let Some(narrow) = find(link, number, "anchor").await? else { return Ok(()) };
    let right = *dice.pick(&[Right::Load, Right::Store, Right::Walk, Right::Lookup, Right::Ls]);
    try_right(link, (number, &given), &narrow, right).await
}

/// Does what needs `right`, and nothing else.
async fn try_right(
    link: &Link,
    (number, given): (usize, &Given),
    narrow: &anchor::Client,
    right: Right,
) -> capnp::Result<()> {
    let start = now();
    let done = match right {
        Right::Load => link.load(&cell(narrow).0, given.register).await.map(|_| None),
        Right::Store => {
            let put = (Put::Text(link.record.new_value(), 10), false);
            let how = How::Always;
            link.write(narrow, given.register, put, Vec::new(), how).await.map(Some)
        }
        Right::Walk => walk(narrow, &format!("below/{}", link.number)).await.map(|_| None),
        Right::Lookup => lookup(narrow, "below").await.map(|_| None),
        _ => ls(narrow).await.map(|_| None),
    };
    let outcome = match done.map_err(no_half(right)) {
        Ok(revision) => Ok(revision),
        Err(error) => Err(denied(&error).ok_or(error)?),
    };
    link.record.uses(link.number, Use { given: number, right, start, end: now(), outcome });
    Ok(())
}

/// Takes back what was granted, and tries to use it.
pub(crate) async fn revoke(link: &Link, dice: &mut Dice) -> capnp::Result<()> {
    let Some((number, given)) = link.record.pick(link.number, dice) else { return Ok(()) };
    let Some(grant) = find::<grant::Client>(link, number, "grant").await? else { return Ok(()) };
    let Some(narrow) = find(link, number, "anchor").await? else { return Ok(()) };
    let (used, _) = told(&grant).await?;
    if used > given.nodes as u64 {
        link.record.wrong(format_args!("{:?} grant {number}: {used} nodes: {given:?}", now()));
    }
    link.record.revoking(number);
    let whole = walk(&link.anchor, given.register).await?;
    let revoking = async {
        grant.revoke_request().send().promise.await?;
        link.record.revoked(link.number, number);
        Ok(())
    };
    let right = *dice.pick(&[Right::Store, Right::Load, Right::Walk]);
    let using = try_right(link, (number, &given), &narrow, right);
    futures::future::try_join(using, revoking).await?;
    let (revision, ..) = link.load(&cell(&whole).0, given.register).await?;
    link.record.settled(number, revision);
    for right in [Right::Store, Right::Load, Right::Walk, Right::Ls] {
        try_right(link, (number, &given), &narrow, right).await?;
    }
    let told = told(&grant).await?;
    if told != (0, true) {
        link.record.wrong(format_args!("{:?} grant {number} is {told:?}: {given:?}", now()));
    }
    Ok(())
}

/// How many nodes are counted, and whether it is revoked.
async fn told(grant: &grant::Client) -> capnp::Result<(u64, bool)> {
    let response = grant.info_request().send().promise.await?;
    let info = response.get()?;
    Ok((info.get_used()?.get_nodes(), info.get_revoked()))
}

impl Record {
    fn gives(
        &self,
        connection: usize,
        register: &'static str,
        rights: Rights,
        nodes: usize,
    ) -> usize {
        let server = self.connection(connection).server;
        let (revoking, revoked, settled) = (None, None, None);
        let given = Given { server, register, rights, nodes, revoking, revoked, settled };
        self.trace(now(), &self.connection(connection).client, format_args!("{given:?}"));
        let all = &mut self.grants.borrow_mut().given;
        all.push(given);
        all.len() - 1
    }

    /// One of the grants of the server that `connection` leads to: rather the last.
    fn pick(&self, connection: usize, dice: &mut Dice) -> Option<(usize, Given)> {
        let server = self.connection(connection).server;
        let grants = self.grants.borrow();
        let here = |(_, given): &(usize, &Given)| given.server == server;
        let all: Vec<_> = grants.given.iter().enumerate().filter(here).collect();
        let last = &all[all.len().saturating_sub(3)..];
        let (number, given) = *last.get(usize::try_from(dice.below(3)).expect("an index"))?;
        Some((number, given.clone()))
    }

    fn uses(&self, connection: usize, used: Use) {
        let host = self.connection(connection).client;
        self.trace(now(), &host, format_args!("#{connection} {used:?}"));
        self.grants.borrow_mut().uses.push(used);
    }

    fn revoking(&self, number: usize) {
        self.grants.borrow_mut().given[number].revoking.get_or_insert(now());
    }

    fn revoked(&self, connection: usize, number: usize) {
        let host = self.connection(connection).client;
        self.trace(now(), &host, format_args!("#{connection} grant {number} is revoked"));
        self.grants.borrow_mut().given[number].revoked.get_or_insert(now());
    }

    fn settled(&self, number: usize, revision: u64) {
        self.grants.borrow_mut().given[number].settled.get_or_insert(revision);
    }
}

/// What is wrong with what was done through grants.
pub(crate) fn check(grants: &Grants) -> Vec<String> {
    let wrong = |used: &Use| {
        let given = &grants.given[used.given];
        given.check(used).map(|what| format!("{what}: {used:?}, {given:?}"))
    };
    grants.uses.iter().filter_map(wrong).collect()
}

impl Given {
    fn check(&self, used: &Use) -> Option<&'static str> {
        let is_granted = self.rights.contains(used.right);
        let is_over = self.revoked.is_some_and(|revoked| revoked <= used.start);
        let may_be_over = self.revoking.is_some_and(|revoking| revoking <= used.end);
        match used.outcome {
            Err(Denied::Revoked) => (!may_be_over).then_some("nobody has taken it back"),
            _ if is_over => Some("it had been taken back"),
            Ok(_) if !is_granted => Some("it was not granted"),
            Ok(Some(revision)) if self.settled.is_some_and(|settled| settled < revision) => {
                Some("it was done after it had been taken back")
            }
            Ok(_) => None,
            Err(Denied::Right(right)) => {
                (is_granted || right != used.right).then_some("it was granted")
            }
            Err(Denied::Exhausted { resource: Resource::Nodes, limit }) => {
                let is_its = used.right == Right::Walk && limit == self.nodes;
                (!is_its).then_some("it needs no node")
            }
            Err(_) => Some("it is refused for no reason"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a use of a grant that was taken back between 10 and 20 milliseconds.
    fn wrong(right: Right, (start, end): (u64, u64), outcome: Result<Option<u64>, Denied>) -> bool {
        let time = |millis| Some(Time::from_millis(millis));
        let given = Given {
            server: 1,
            register: KEPT[0],
            rights: Rights::from(Right::Load) | Right::Store.into(),
            nodes: 0,
            revoking: time(10),
            revoked: time(20),
            settled: Some(5),
        };
        let (start, end) = (Time::from_millis(start), Time::from_millis(end));
        let uses = vec![Use { given: 0, right, start, end, outcome }];
        !check(&Grants { given: vec![given], uses }).is_empty()
    }

    #[test]
    fn what_was_granted_is_right_until_it_is_taken_back() {
        assert!(!wrong(Right::Load, (1, 5), Ok(None)));
        assert!(!wrong(Right::Store, (12, 25), Ok(Some(5))));
        assert!(!wrong(Right::Load, (12, 25), Err(Denied::Revoked)));
        assert!(!wrong(Right::Load, (20, 25), Err(Denied::Revoked)));
        assert!(!wrong(Right::Walk, (1, 5), Err(Denied::Right(Right::Walk))));
    }

    #[test]
    fn anything_else_is_wrong() {
        assert!(wrong(Right::Load, (1, 5), Err(Denied::Revoked)));
        assert!(wrong(Right::Load, (1, 5), Err(Denied::Right(Right::Load))));
        assert!(wrong(Right::Walk, (1, 5), Ok(None)));
        assert!(wrong(Right::Load, (20, 25), Ok(None)));
        assert!(wrong(Right::Walk, (20, 25), Err(Denied::Right(Right::Walk))));
        assert!(wrong(Right::Store, (12, 25), Ok(Some(6))));
    }
}
