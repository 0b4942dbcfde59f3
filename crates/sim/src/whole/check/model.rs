//! The plainest tree: what each path was at each zxid. It takes the committed txns, and says which of them can't be.

use std::collections::{BTreeMap, BTreeSet};

use wire::jute::{Buffer, Reader};
use wire::txn::{Txn, TxnEntry};
use wire::watcher::EventType;
use wire::{OpCode, SessionId, StatPersisted, UStr, Zxid};

/// A znode, as far as clients look at it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::whole) struct Znode {
    pub(in crate::whole) data: Vec<u8>,
    pub(in crate::whole) version: i32,
    pub(in crate::whole) cversion: i32,
    pub(in crate::whole) czxid: Zxid,
    pub(in crate::whole) mzxid: Zxid,
    pub(in crate::whole) pzxid: Zxid,
    pub(in crate::whole) owner: SessionId,
}

impl Znode {
    /// One without data, and nobody's.
    pub(in crate::whole) fn of(stat: &StatPersisted) -> Self {
        let StatPersisted { version, cversion, czxid, mzxid, pzxid, .. } = *stat;
        Self { data: Vec::new(), version, cversion, czxid, mzxid, pzxid, owner: SessionId(0) }
    }
}

/// All that was ever committed.
#[derive(Debug, Clone, Default)]
pub(in crate::whole) struct Model {
    /// What each path became, and when.
    znodes: BTreeMap<String, Vec<(Zxid, Option<Znode>)>>,
    /// What those who watch each path's data, or its children, hear of.
    changes: BTreeMap<String, Vec<(Zxid, EventType)>>,
    live: BTreeSet<SessionId>,
    over: BTreeSet<SessionId>,
    ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    /// Sequential names, with the czxid of the parent that they were made for.
    names: BTreeSet<(Zxid, String)>,
    /// How often a version came behind the last one that there is.
    pub(in crate::whole) wrapped: u64,
}

impl Model {
    /// What was there before, from these zxids on.
    pub(in crate::whole) fn beginning_with(znodes: impl Iterator<Item = (String, Zxid, Znode)>) -> Self {
        let znodes = znodes.map(|(path, zxid, znode)| (path, vec![(zxid, Some(znode))]));
        Self { znodes: znodes.collect(), ..Self::default() }
    }

    /// Has it begun, and not ended?
    pub(super) fn lives(&self, session: SessionId) -> bool {
        self.live.contains(&session)
    }

    /// The sessions that have begun, and not ended.
    pub(super) fn live(&self) -> impl Iterator<Item = SessionId> {
        self.live.iter().copied()
    }

    /// What was there behind this zxid.
    pub(in crate::whole) fn at(&self, path: &str, zxid: Zxid) -> Option<&Znode> {
        let states = self.znodes.get(path)?;
        let behind = states.partition_point(|(at, _)| *at <= zxid);
        states.get(behind.checked_sub(1)?)?.1.as_ref()
    }

    /// The names of its children there, ascending.
    pub(in crate::whole) fn children(&self, path: &str, zxid: Zxid) -> Vec<&str> {
        let from = format!("{path}/");
        let below = self.znodes.range(from.clone()..).take_while(|(it, _)| it.starts_with(&from));
        let names = below.filter_map(|(it, _)| it.get(from.len()..).filter(|name| !name.contains('/')));
        names.filter(|name| self.at(&format!("{path}/{name}"), zxid).is_some()).collect()
    }

    /// What happened to a path behind `after`, up to `to`.
    pub(in crate::whole) fn changes(&self, path: &str, after: Zxid, to: Zxid) -> &[(Zxid, EventType)] {
        let Some(all) = self.changes.get(path) else { return &[] };
        let (from, end) = (all.partition_point(|it| it.0 <= after), all.partition_point(|it| it.0 <= to));
        all.get(from..end).unwrap_or_default()
    }

    /// The next committed txn; `Err`: it can't be.
    pub(super) fn apply(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        let (session, zxid) = (entry.header.session, entry.header.zxid);
        match &entry.txn {
            Txn::CreateSession(_) => {
                if self.over.contains(&session) || !self.live.insert(session) {
                    return Err(format!("session {session} begins a second time"));
                }
            }
            Txn::CloseSession(close) => {
                if !self.live.remove(&session) {
                    return Err(format!("session {session} ends, and did not live"));
                }
                self.over.insert(session);
                let its = self.ephemerals.remove(&session).unwrap_or_default();
                let said = close.iter().flat_map(|it| it.paths_to_delete.iter().flatten().flatten());
                let said: BTreeSet<String> = said.map(ToString::to_string).collect();
                if close.is_some() && said != its {
                    return Err(format!("session {session} ends with the ephemerals {said:?}, and had {its:?}"));
                }
                its.iter().try_for_each(|path| self.delete(zxid, path))?;
            }
            Txn::Multi(multi) => {
                let all = multi.txns.iter().flatten();
                if all.clone().any(|it| it.kind == OpCode::Error.code()) {
                    return Ok(());
                }
                for sub in all {
                    let op = OpCode::from_code(sub.kind).ok_or_else(|| format!("kind {}", sub.kind))?;
                    let mut reader = Reader::new(sub.data.unwrap_or_default());
                    let txn = Txn::read_body(op, true, &mut reader).map_err(|error| error.to_string())?;
                    self.apply_one(session, zxid, &txn)?;
                }
            }
            // Of a znode that no client looks at.
            Txn::SetData(_) if entry.header.op == OpCode::Reconfig => {}
            txn => self.apply_one(session, zxid, txn)?,
        }
        Ok(())
    }

    fn apply_one(&mut self, session: SessionId, zxid: Zxid, txn: &Txn<'_>) -> Result<(), String> {
        match txn {
            Txn::Create(it) => {
                let owner = if it.ephemeral { session } else { SessionId(0) };
                self.create(zxid, path(&it.path)?, it.data, owner, it.parent_cversion)
            }
            Txn::Delete(it) => {
                let path = path(&it.path)?;
                if let Some(its) = self.at(path, zxid).map(|it| it.owner).and_then(|it| self.ephemerals.get_mut(&it)) {
                    its.remove(path);
                }
                self.delete(zxid, path)
            }
            Txn::SetData(it) => {
                let path = path(&it.path)?;
                let old = self.at(path, zxid).ok_or_else(|| format!("{path} is set, and is not there"))?;
                if it.version != behind(old.version) {
                    return Err(format!("{path} gets version {}, and had {}", it.version, old.version));
                }
                let wrapped = it.version < old.version;
                let data = it.data.unwrap_or_default().to_vec();
                let new = Znode { data, version: it.version, mzxid: zxid, ..old.clone() };
                self.put(zxid, path, Some(new));
                self.changed(zxid, path, EventType::DataChanged);
                self.wrapped += u64::from(wrapped);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn create(
        &mut self,
        zxid: Zxid,
        path: &str,
        data: Buffer<'_>,
        owner: SessionId,
        parent_cversion: i32,
    ) -> Result<(), String> {
        if self.at(path, zxid).is_some() {
            return Err(format!("{path} is created, and is there"));
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        if !parent.is_empty() {
            let (czxid, cversion) = match self.at(parent, zxid) {
                None => return Err(format!("{path} is created without a parent")),
                Some(it) if it.owner != SessionId(0) => return Err(format!("{path} is a child of an ephemeral")),
                Some(it) => (it.czxid, it.cversion),
            };
            if let Some(number) = name.strip_prefix("s-") {
                if !self.names.insert((czxid, path.to_owned())) {
                    return Err(format!("the sequential name {path} is given a second time"));
                }
                if cversion == i32::MAX || number != format!("{cversion:010}") {
                    return Err(format!(
                        "the sequential name {path} is given, and the cversion of its parent is {cversion}"
                    ));
                }
            }
            if parent_cversion != cversion.saturating_add(1) {
                return Err(format!("{path} gives its parent cversion {parent_cversion}, and it had {cversion}"));
            }
        }
        if owner != SessionId(0) {
            if !self.live.contains(&owner) {
                return Err(format!("{path} is created for session {owner}, which does not live"));
            }
            self.ephemerals.entry(owner).or_default().insert(path.to_owned());
        }
        let data = data.unwrap_or_default().to_vec();
        let new = Znode { data, version: 0, cversion: 0, czxid: zxid, mzxid: zxid, pzxid: zxid, owner };
        self.put(zxid, path, Some(new));
        self.changed(zxid, path, EventType::Created);
        self.touch_parent(zxid, parent, Some(parent_cversion));
        Ok(())
    }

    fn delete(&mut self, zxid: Zxid, path: &str) -> Result<(), String> {
        if self.at(path, zxid).is_none() {
            return Err(format!("{path} is deleted, and is not there"));
        }
        if !self.children(path, zxid).is_empty() {
            return Err(format!("{path} is deleted, and has children"));
        }
        self.put(zxid, path, None);
        self.changed(zxid, path, EventType::Deleted);
        let parent = path.rsplit_once('/').unwrap_or_default().0;
        self.touch_parent(zxid, parent, None);
        Ok(())
    }

    /// A child comes, and gives its parent this cversion, or one goes.
    fn touch_parent(&mut self, zxid: Zxid, parent: &str, cversion: Option<i32>) {
        if let Some(it) = self.at(parent, zxid).cloned() {
            // The last cversion stays, and with it the pzxid.
            let new = match cversion {
                Some(cversion) if cversion > it.cversion => Znode { pzxid: zxid, cversion, ..it },
                Some(_) => it,
                None => Znode { pzxid: zxid, ..it },
            };
            self.put(zxid, parent, Some(new));
            self.changed(zxid, parent, EventType::ChildrenChanged);
        }
    }

    fn put(&mut self, zxid: Zxid, path: &str, state: Option<Znode>) {
        self.znodes.entry(path.to_owned()).or_default().push((zxid, state));
    }

    fn changed(&mut self, zxid: Zxid, path: &str, event: EventType) {
        self.changes.entry(path.to_owned()).or_default().push((zxid, event));
    }
}

/// The version behind this one: the lowest behind the last, and 0 behind -2, since -1 stands for any.
fn behind(version: i32) -> i32 {
    match version {
        i32::MAX => i32::MIN,
        -2 => 0,
        _ => version + 1,
    }
}

fn path<'a>(path: &'a UStr<'_>) -> Result<&'a str, String> {
    path.as_deref().ok_or_else(|| "no path".to_owned())
}

#[cfg(test)]
mod tests {
    use wire::txn::{CloseSessionTxn, CreateSessionTxn, CreateTxn, DeleteTxn, SetDataTxn, TxnHeader};
    use wire::{AclVec, Xid};

    use super::*;

    fn entry(zxid: i64, session: i64, op: OpCode, txn: Txn<'static>) -> TxnEntry<'static> {
        let header = TxnHeader { session: SessionId(session), cxid: Xid(1), zxid: Zxid(zxid), time_ms: 0, op };
        TxnEntry { header, txn, digest: None }
    }

    fn create(zxid: i64, session: i64, path: &'static str, ephemeral: bool) -> TxnEntry<'static> {
        let txn = CreateTxn { path: Some(path.into()), data: None, acl: AclVec::OPEN, ephemeral, parent_cversion: 1 };
        entry(zxid, session, OpCode::Create, Txn::Create(txn))
    }

    fn begin(zxid: i64, session: i64) -> TxnEntry<'static> {
        entry(zxid, session, OpCode::CreateSession, Txn::CreateSession(CreateSessionTxn { timeout_ms: 1 }))
    }

    fn close(zxid: i64, session: i64, paths: &[&'static str]) -> TxnEntry<'static> {
        let paths_to_delete = Some(paths.iter().map(|it| Some((*it).into())).collect());
        entry(zxid, session, OpCode::CloseSession, Txn::CloseSession(Some(CloseSessionTxn { paths_to_delete })))
    }

    fn refused(txns: &[TxnEntry<'_>]) -> String {
        let mut model = Model::default();
        let (last, before) = txns.split_last().unwrap();
        for txn in before {
            model.apply(txn).unwrap();
        }
        model.apply(last).unwrap_err()
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let delete = |zxid| entry(zxid, 1, OpCode::Delete, Txn::Delete(DeleteTxn { path: Some("/a".into()) }));
        let set = SetDataTxn { path: Some("/a".into()), data: None, version: 2 };
        let set = entry(2, 1, OpCode::SetData, Txn::SetData(set));
        let twice = [create(1, 1, "/a", false), create(2, 1, "/a/s-0000000000", false), delete(3)];
        let wrong_number = [create(1, 1, "/a", false), create(2, 1, "/a/s-0000000001", false)];
        let no_step = [create(1, 1, "/a", false), create(2, 1, "/a/b", false), create(3, 1, "/a/c", false)];
        let cases: &[(&[TxnEntry<'_>], &str)] = &[
            (&[create(1, 1, "/a", false), create(2, 1, "/a", false)], "is there"),
            (&[create(1, 1, "/a/b", false)], "without a parent"),
            (&[create(1, 1, "/a", true)], "does not live"),
            (&[begin(1, 1), close(2, 1, &[]), create(3, 1, "/a", true)], "does not live"),
            (&[begin(1, 1), create(2, 1, "/a", true), close(3, 1, &[])], "with the ephemerals"),
            (&[begin(1, 1), create(2, 1, "/a", true), create(3, 1, "/a/b", false)], "child of an ephemeral"),
            (&[begin(1, 1), close(2, 1, &[]), begin(3, 1)], "second time"),
            (&[close(2, 1, &[])], "did not live"),
            (&[delete(1)], "not there"),
            (&twice, "has children"),
            (&wrong_number, "the cversion of its parent"),
            (&no_step, "cversion 1, and it had 1"),
            (&[create(1, 1, "/a", false), set], "version"),
        ];
        for (txns, why) in cases {
            let error = refused(txns);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_sequential_name_is_given_once() {
        let delete = DeleteTxn { path: Some("/a/s-0000000000".into()) };
        let delete = entry(3, 1, OpCode::Delete, Txn::Delete(delete));
        let name = "/a/s-0000000000";
        let error = refused(&[create(1, 1, "/a", false), create(2, 1, name, false), delete, create(4, 1, name, false)]);
        assert!(error.contains("second time"), "{error}");
    }

    #[test]
    fn numbers_come_to_their_end() {
        assert_eq!([i32::MAX, -3, -2, 0].map(behind), [i32::MIN, -2, 0, 1]);
        let stat = StatPersisted { cversion: i32::MAX - 1, pzxid: Zxid(1), ..StatPersisted::default() };
        let mut model = Model::beginning_with([("/a".to_owned(), Zxid(1), Znode::of(&stat))].into_iter());
        let last = |zxid, path: &'static str| {
            let (path, acl) = (Some(path.into()), AclVec::OPEN);
            let txn = CreateTxn { path, data: None, acl, ephemeral: false, parent_cversion: i32::MAX };
            entry(zxid, 1, OpCode::Create, Txn::Create(txn))
        };
        model.apply(&last(2, "/a/s-2147483646")).unwrap();
        model.apply(&last(3, "/a/b")).unwrap();
        assert_eq!(model.at("/a", Zxid(3)).map(|it| (it.cversion, it.pzxid)), Some((i32::MAX, Zxid(2))));
        let error = model.apply(&last(4, "/a/s-2147483647")).unwrap_err();
        assert!(error.contains("the cversion of its parent"), "{error}");
    }

    #[test]
    fn it_remembers_every_state() {
        let mut model = Model::default();
        let delete = entry(3, 1, OpCode::Delete, Txn::Delete(DeleteTxn { path: Some("/a/b".into()) }));
        for txn in [create(1, 1, "/a", false), create(2, 1, "/a/b", false), delete] {
            model.apply(&txn).unwrap();
        }
        assert_eq!((model.children("/a", Zxid(2)), model.children("/a", Zxid(3)).len()), (vec!["b"], 0));
        assert_eq!(model.at("/a", Zxid(3)).unwrap().pzxid, Zxid(3));
        assert_eq!(model.at("/a", Zxid(0)), None);
        assert_eq!(model.changes("/a", Zxid(1), Zxid(3)).len(), 2);
    }
}
