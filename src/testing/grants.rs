//! Narrowed anchors against a model: paths instead of nodes, sets instead of counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Allowance, Anchor, Denied, Grant, Limits, Narrow, NarrowError, NarrowStoreError, Resource,
    Right, Rights, Tree,
};

/// A path from the root: its names, of one byte each.
type Path = Vec<u8>;

/// The paths that operations draw from.
const STEPS: [&str; 8] = ["", "a", "b", "a/b", "b/a/c", "./c", "..", "a/../b"];

/// The most grants and handles at a time.
const MOST: usize = 24;

struct Granted {
    real: Grant,
    rights: Rights,
    base: Path,
    revoked: bool,
    /// What its giver had.
    above: BTreeSet<usize>,
    /// Keeps the node that was narrowed.
    _held: Anchor<u8>,
}

struct Handle {
    real: Narrow<u8>,
    path: Path,
    grants: BTreeSet<usize>,
}

struct Grants {
    tree: Tree<u8>,
    grants: Vec<Granted>,
    handles: Vec<Handle>,
    values: BTreeMap<Path, u8>,
}

/// What a step from a handle is refused for, as far as that is certain.
enum Refused {
    /// For this.
    For(Denied),
    /// For one of these.
    OneOf(Vec<Denied>),
    /// The path is none.
    NoPath,
}

/// Runs decoded operations on narrowed anchors and on the model, and compares every result, what each
/// grant counts and which nodes there are; then drops all, and counts again.
///
/// # Panics
/// If they differ.
pub fn fuzz_authority(data: &[u8]) {
    let tree = Tree::new(Limits::default());
    let mut grants =
        Grants { tree, grants: Vec::new(), handles: Vec::new(), values: BTreeMap::new() };
    for step in data.chunks_exact(4).take(512) {
        grants.step([step[0], step[1], step[2], step[3]]);
        grants.check();
    }
    grants.end();
}

impl Grants {
    fn step(&mut self, [what, at, one, other]: [u8; 4]) {
        if self.handles.is_empty() || what == 0 {
            return self.begin(at, one, other);
        }
        let at = usize::from(at) % self.handles.len();
        match what % 16 {
            0..3 => self.walk(at, STEPS[usize::from(one) % STEPS.len()]),
            3..5 => self.lookup(at, STEPS[usize::from(one) % STEPS.len()]),
            5 => self.ls(at),
            6 => self.load(at),
            7 | 8 => self.store(at, one, other),
            9 | 10 => drop(self.handles.swap_remove(at)),
            11 | 12 => self.attenuate(at, one, other),
            13 | 14 => self.and(at, usize::from(one) % self.handles.len()),
            _ => self.revoke(usize::from(one)),
        }
    }

    /// Narrows an anchor that is not.
    fn begin(&mut self, path: u8, rights: u8, limits: u8) {
        if self.grants.len() >= MOST {
            return;
        }
        let path = STEPS[usize::from(path) % 6];
        let anchor = self.tree.root().walk(path).expect("a path");
        let (rights, allowance) = asked(rights, limits);
        let (real, grant) = anchor.attenuate(rights, allowance);
        let path = below(&[], path).expect("a path");
        self.granted(grant, rights, (path.clone(), BTreeSet::new()), anchor);
        self.handles.push(Handle { real, path, grants: [self.grants.len() - 1].into() });
    }

    fn granted(
        &mut self,
        real: Grant,
        rights: Rights,
        (base, above): (Path, BTreeSet<usize>),
        held: Anchor<u8>,
    ) {
        self.grants.push(Granted { real, rights, base, revoked: false, above, _held: held });
    }

    fn is_revoked(&self, grants: &BTreeSet<usize>) -> bool {
        grants.iter().any(|&grant| self.grants[grant].revoked)
    }

    fn rights(&self, grants: &BTreeSet<usize>) -> Rights {
        let all: Rights = Right::ALL.into_iter().collect();
        grants.iter().fold(all, |all, &grant| all & self.grants[grant].rights)
    }

    /// Why what needs `needed` is refused, if it is.
    fn refused(&self, at: usize, needed: &[Right]) -> Option<Denied> {
        let grants = &self.handles[at].grants;
        if self.is_revoked(grants) {
            return Some(Denied::Revoked);
        }
        let rights = self.rights(grants);
        let mut missing = Right::ALL.into_iter().filter(|right| needed.contains(right));
        missing.find(|&right| !rights.contains(right)).map(Denied::Right)
    }

    /// What the handles of `grant` keep.
    fn kept(&self, grant: usize, more: &[Path]) -> BTreeSet<Path> {
        let base = &self.grants[grant].base;
        let live = self
            .handles
            .iter()
            .filter(|handle| handle.grants.contains(&grant) && !self.is_revoked(&handle.grants));
        let paths = live.map(|handle| &handle.path).chain(more);
        let counted = |path: &Path| {
            let from = if path.starts_with(base) { base.len() } else { 0 };
            (from..path.len()).map(|end| path[..=end].to_vec()).collect::<Vec<_>>()
        };
        paths.flat_map(counted).collect()
    }

    /// The grants that would be exceeded if handles to `paths` were held by them.
    fn exceeded(&self, grants: &BTreeSet<usize>, paths: &[Path]) -> Vec<Denied> {
        let over = grants.iter().filter_map(|&grant| {
            let limit = self.grants[grant].real.allowance().nodes;
            let over = self.kept(grant, paths).len() > limit;
            over.then_some(Denied::Exhausted { resource: Resource::Nodes, limit })
        });
        over.collect()
    }

    /// Whether `depth` is more than the grants allow.
    fn too_deep(&self, grants: &BTreeSet<usize>, depth: usize) -> Option<Denied> {
        let limits = grants.iter().map(|&grant| {
            let Granted { real, base, .. } = &self.grants[grant];
            let limit = real.allowance().depth;
            (limit.saturating_add(base.len()), limit)
        });
        let (max, limit) = limits.min()?;
        (depth > max).then_some(Denied::Exhausted { resource: Resource::Depth, limit })
    }

    /// Why a step of one handle is refused, if it is; otherwise where it leads.
    fn step_to(&self, at: usize, right: Right, step: &str) -> Result<Path, Refused> {
        if let Some(denied) = self.refused(at, &[right]) {
            return Err(Refused::For(denied));
        }
        let Handle { path, grants, .. } = &self.handles[at];
        let to = below(path, step).ok_or(Refused::NoPath)?;
        match self.too_deep(grants, to.len()) {
            Some(denied) => Err(Refused::For(denied)),
            None => Ok(to),
        }
    }

    /// The same, with what it would keep.
    fn reach(&self, at: usize, to: &Path) -> Result<(), Refused> {
        match self.exceeded(&self.handles[at].grants, std::slice::from_ref(to)) {
            over if over.is_empty() => Ok(()),
            over => Err(Refused::OneOf(over)),
        }
    }

    fn keep(&mut self, real: Narrow<u8>, path: Path, grants: BTreeSet<usize>) {
        if self.handles.len() < MOST {
            self.handles.push(Handle { real, path, grants });
        }
    }

    fn walk(&mut self, at: usize, step: &str) {
        let expected = self.step_to(at, Right::Walk, step);
        let expected = expected.and_then(|to| self.reach(at, &to).map(|()| to));
        match (self.handles[at].real.walk(step), expected) {
            (Ok(real), Ok(to)) => self.keep(real, to, self.handles[at].grants.clone()),
            (Err(error), Err(refused)) => refused.is(&error),
            (real, expected) => panic!("walk {step:?}: {real:?}, not {:?}", expected.is_ok()),
        }
    }

    fn lookup(&mut self, at: usize, step: &str) {
        let mut expected = self.step_to(at, Right::Lookup, step).map(Some);
        if let Ok(Some(to)) = &expected {
            match to.is_empty() || self.nodes().contains(to) {
                false => expected = Ok(None),
                true => expected = self.reach(at, &to.clone()).map(|()| Some(to.clone())),
            }
        }
        match (self.handles[at].real.lookup(step), expected) {
            (Ok(None), Ok(None)) => {}
            (Ok(Some(real)), Ok(Some(to))) => {
                self.keep(real, to, self.handles[at].grants.clone());
            }
            (Err(error), Err(refused)) => refused.is(&error),
            (real, expected) => panic!("lookup {step:?}: {real:?}, not {:?}", expected.is_ok()),
        }
    }

    fn ls(&mut self, at: usize) {
        let Handle { real, path, grants } = &self.handles[at];
        let nodes = self.nodes();
        let is_child = |node: &&Path| node.len() == path.len() + 1 && node.starts_with(path);
        let children: Vec<Path> = nodes.iter().filter(is_child).cloned().collect();
        let denied = self.refused(at, &[Right::Ls]).or_else(|| {
            if children.is_empty() { None } else { self.too_deep(grants, path.len() + 1) }
        });
        let over = self.exceeded(grants, &children);
        match (real.ls(), denied) {
            (Err(error), Some(denied)) => assert_eq!(error, denied, "ls"),
            (Err(error), None) => assert!(over.contains(&error), "ls: {error}"),
            (Ok(real), None) => {
                assert!(over.is_empty(), "ls beyond {over:?}");
                assert_eq!(real.len(), children.len());
                let grants = grants.clone();
                if let Some((real, path)) = real.into_iter().zip(children).next() {
                    self.keep(real, path, grants);
                }
            }
            (Ok(_), Some(denied)) => panic!("ls although {denied}"),
        }
    }

    fn load(&self, at: usize) {
        let Handle { real, path, .. } = &self.handles[at];
        let loaded = real.load().map(|loaded| loaded.value.as_deref().copied());
        let expected = match self.refused(at, &[Right::Load]) {
            Some(denied) => Err(denied),
            None => Ok(self.values.get(path).copied()),
        };
        assert_eq!(loaded, expected, "load");
    }

    fn store(&mut self, at: usize, value: u8, how: u8) {
        let Handle { real, path, .. } = &self.handles[at];
        let value = Some(value).filter(|value| value % 3 > 0);
        let (needed, stored) = match how % 2 {
            0 => (&[Right::Store][..], real.store(value, true).map(drop)),
            _ => (&[Right::Load, Right::Store][..], real.swap(value).map(drop)),
        };
        match (stored, self.refused(at, needed)) {
            (Ok(()), None) => {
                match value {
                    Some(value) => self.values.insert(path.clone(), value),
                    None => self.values.remove(path),
                };
            }
            (Err(NarrowStoreError::Denied(denied, back)), Some(expected)) => {
                assert_eq!((denied, back), (expected, value), "store");
            }
            (stored, expected) => panic!("store: {stored:?}, not {expected:?}"),
        }
    }

    fn attenuate(&mut self, at: usize, rights: u8, limits: u8) {
        if self.grants.len() >= MOST {
            return;
        }
        let Handle { real, path, grants } = &self.handles[at];
        let (path, mut grants) = (path.clone(), grants.clone());
        let (rights, allowance) = asked(rights, limits);
        let held = self.tree.root().walk(spelled(&path)).expect("a path");
        let denied = self.refused(at, &[Right::Attenuate]);
        let denied = denied.or_else(|| (grants.len() >= 16).then_some(too_many()));
        match (real.attenuate(rights, allowance), denied) {
            (Ok((real, grant)), None) => {
                let rights = rights & self.rights(&grants);
                assert_eq!((grant.rights(), real.rights()), (rights, rights));
                let above = grants.clone();
                grants.insert(self.grants.len());
                self.granted(grant, rights, (path.clone(), above), held);
                self.keep(real, path, grants);
            }
            (Err(error), Some(denied)) => assert_eq!(error, denied, "attenuate"),
            (real, denied) => panic!("attenuate: {real:?}, not {denied:?}"),
        }
    }

    fn and(&mut self, at: usize, other: usize) {
        let (through, to) = (&self.handles[at], &self.handles[other]);
        let grants: BTreeSet<usize> = through.grants.union(&to.grants).copied().collect();
        let path = to.path.clone();
        match to.real.and(through.real.authority()) {
            Ok(real) => {
                assert!(grants.len() <= 16);
                assert_eq!(real.rights(), self.rights(&grants));
                match self.is_revoked(&grants) {
                    true => assert!(grants == to.grants && real.is_revoked()),
                    false => assert_eq!(self.exceeded(&grants, std::slice::from_ref(&path)), []),
                }
                self.keep(real, path, grants);
            }
            Err(Denied::Revoked) => assert!(self.is_revoked(&grants)),
            Err(error) if error == too_many() => assert!(grants.len() > 16),
            Err(error) => {
                let over = self.exceeded(&grants, &[path]);
                assert!(over.contains(&error) || self.is_revoked(&grants), "and: {error}");
            }
        }
    }

    fn revoke(&mut self, grant: usize) {
        if !self.grants.is_empty() {
            let grant = grant % self.grants.len();
            self.grants[grant].real.revoke();
            self.grants[grant].revoked = true;
        }
    }

    /// The paths at which there are nodes.
    fn nodes(&self) -> BTreeSet<Path> {
        let live = self.handles.iter().filter(|handle| !self.is_revoked(&handle.grants));
        let held = live.map(|handle| &handle.path);
        let bases = self.grants.iter().map(|grant| &grant.base);
        let ends = held.chain(bases).chain(self.values.keys());
        ends.flat_map(|path| (0..path.len()).map(|end| path[..=end].to_vec())).collect()
    }

    /// Whether all counts are those of the model.
    fn check(&self) {
        assert_eq!(self.tree.nodes(), 1 + self.nodes().len(), "nodes of the tree");
        for (number, grant) in self.grants.iter().enumerate() {
            let revoked = grant.revoked || self.is_revoked(&grant.above);
            assert_eq!(grant.real.is_revoked(), revoked);
            if grant.real.allowance().nodes < usize::MAX {
                let kept = self.kept(number, &[]).len();
                assert_eq!(grant.real.used(Resource::Nodes), kept, "nodes of grant {number}");
            }
        }
    }

    /// Drops all, and looks what is left.
    fn end(mut self) {
        self.handles.clear();
        for grant in std::mem::take(&mut self.grants) {
            assert_eq!(grant.real.all_used(), nothing(), "used when nothing is held");
        }
        assert_eq!(self.tree.nodes(), 1 + self.nodes().len());
        for path in self.values.keys() {
            self.tree.root().walk(spelled(path)).expect("a path").clear();
        }
        assert_eq!(self.tree.nodes(), 1);
    }
}

impl Refused {
    fn is<E: std::fmt::Debug>(&self, error: &NarrowError<E>) {
        match (self, error) {
            (Refused::For(expected), NarrowError::Denied(denied)) => assert_eq!(denied, expected),
            (Refused::OneOf(any), NarrowError::Denied(denied)) => assert!(any.contains(denied)),
            (Refused::NoPath, NarrowError::Failed(_)) => {}
            _ => panic!("refused otherwise: {error:?}"),
        }
    }
}

/// Nothing of anything.
fn nothing() -> Allowance {
    Resource::ALL.into_iter().fold(Allowance::default(), |all, resource| all.with(resource, 0))
}

fn too_many() -> Denied {
    Denied::TooManyGrants { limit: 16 }
}

/// The rights and limits that two bytes ask for: most of the time all of them.
fn asked(rights: u8, limits: u8) -> (Rights, Allowance) {
    let has = |right: &Right| rights & 0x80 == 0 || rights & (1 << *right as u8) != 0;
    let mut allowance = Allowance::default();
    if limits & 1 > 0 {
        allowance.nodes = usize::from(limits >> 1 & 7);
    }
    if limits & 0x10 > 0 {
        allowance.depth = usize::from(limits >> 5);
    }
    (Right::ALL.into_iter().filter(has).collect(), allowance)
}

/// Where `step` leads from `path`, if it is a path.
fn below(path: &[u8], step: &str) -> Option<Path> {
    let names = step.split('/').filter(|name| !matches!(*name, "" | "."));
    names.clone().all(|name| name != "..").then(|| {
        let bytes = names.flat_map(str::bytes);
        path.iter().copied().chain(bytes).collect()
    })
}

fn spelled(path: &[u8]) -> Vec<u8> {
    path.iter().flat_map(|&name| [name, b'/']).collect()
}
