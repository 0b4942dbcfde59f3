//! Random histories: txns as they stand in a log, most of them valid, some replayed or in conflict with what is there.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::txn::{
    CheckVersionTxn, CloseSessionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn, CreateTxn, DeleteTxn,
    ErrorTxn, MultiTxn, SetAclTxn, SetDataTxn, SubTxn, Txn, TxnEntry, TxnHeader,
};
use wire::{Acl, AclVec, ErrorCode, Field, OpCode, Reader, SessionId, Xid};

use super::model::Model;

/// An operation before it is a txn: what depends on the tree is decided when it is its turn.
#[derive(Debug, Clone)]
pub enum Step {
    Create {
        path: String,
        data: Option<Vec<u8>>,
        acl: u8,
        kind: u8,
        owner: u8,
        cversion: CVersion,
    },
    Delete {
        path: String,
        container: bool,
    },
    SetData {
        path: String,
        data: Option<Vec<u8>>,
        version: Option<i32>,
    },
    SetAcl {
        path: String,
        acl: u8,
        version: Option<i32>,
    },
    Check {
        path: String,
    },
    CloseSession {
        session: u8,
        list: u8,
    },
    CreateSession,
    Error(i32),
    Multi {
        steps: Vec<Self>,
        fails_at: Option<usize>,
    },
    /// An entry of the past once more, with the zxid that it had.
    Replay(usize),
}

/// The parent's cversion in a create.
#[derive(Debug, Clone, Copy)]
pub enum CVersion {
    /// As prep writes it.
    Next,
    /// -1, as of 3.4.
    Old,
    /// Some number.
    Odd(i32),
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => vec(prop_oneof![4 => "[a-c]", 1 => Just("long-name-0123456789".to_owned()), 1 => Just("ü".to_owned())], 1..4)
            .prop_map(|names| names.iter().fold(String::new(), |path, name| format!("{path}/{name}"))),
        1 => "/zookeeper/(quota|config|x)(/[ab])?",
        3 => quota_path(),
    ]
}

fn quota_path() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "/zookeeper/quota(/[abc]){0,2}(/zookeeper_(limits|stats))?",
        1 => "/zookeeper/quota/zookeeper(/quota)?(/zookeeper_(limits|stats))?",
        1 => "/zookeeper(/quotas)?/zookeeper_(limits|stats)",
    ]
}

/// Texts of quotas, and some that are none.
fn quota_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-1..9i64, -1..99i64).prop_map(|(count, bytes)| format!("count={count},bytes={bytes}")),
        1 => (0..9i64, 0..99i64).prop_map(|(c, b)| format!("count=-1,bytes=-1=;byteHardLimit={b};countHardLimit={c}")),
        1 => "(bytes=3|count=4;bytes=5=;zeta=1,Alpha=2|count=|count=x|,;|9)",
    ]
}

fn data() -> impl Strategy<Value = Option<Vec<u8>>> {
    // One length of each kind of slot: small ones, octaves, an allocation of its own.
    let length = prop_oneof![6 => 0..40usize, 2 => 500..700usize, 1 => 4000..4200usize];
    prop_oneof![
        1 => Just(None),
        9 => (length, any::<u8>()).prop_map(|(n, b)| Some(vec![b; n])),
        2 => quota_text().prop_map(|text| Some(text.into_bytes())),
    ]
}

fn step(depth: u32) -> BoxedStrategy<Step> {
    let cversion = prop_oneof![
        10 => Just(CVersion::Next),
        1 => Just(CVersion::Old),
        1 => prop_oneof![0..5i32, Just(i32::MAX), Just(i32::MIN)].prop_map(CVersion::Odd),
    ];
    let version = || prop::option::weighted(0.1, prop_oneof![any::<i32>(), Just(-1)]);
    let leaf = prop_oneof![
        10 => (path(), data(), 0..5u8, 0..8u8, 1..4u8, cversion)
            .prop_map(|(path, data, acl, kind, owner, cversion)| Step::Create { path, data, acl, kind, owner, cversion }),
        6 => (path(), any::<bool>()).prop_map(|(path, container)| Step::Delete { path, container }),
        5 => (prop_oneof![path(), Just("/".to_owned())], data(), version())
            .prop_map(|(path, data, version)| Step::SetData { path, data, version }),
        2 => (prop_oneof![path(), Just("/".to_owned())], 0..5u8, version())
            .prop_map(|(path, acl, version)| Step::SetAcl { path, acl, version }),
    ];
    if depth == 0 {
        return prop_oneof![20 => leaf, 1 => path().prop_map(|path| Step::Check { path })].boxed();
    }
    prop_oneof![
        20 => leaf,
        1 => (1..4u8, 0..4u8).prop_map(|(session, list)| Step::CloseSession { session, list }),
        1 => Just(Step::CreateSession),
        1 => (-125..0i32).prop_map(Step::Error),
        4 => (vec(step(0), 0..5), prop::option::weighted(0.3, 0..4usize))
            .prop_map(|(steps, fails_at)| Step::Multi { steps, fails_at }),
        2 => any::<prop::sample::Index>().prop_map(|at| Step::Replay(at.index(1000))),
    ]
    .boxed()
}

/// Histories of at most `length` steps; some have quotas from the start, set up in some more steps.
pub fn history(length: usize) -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        2 => vec(step(1), 1..length),
        1 => (quotas(), vec(step(1), 1..length)).prop_map(|(first, then)| first.into_iter().chain(then).collect()),
    ]
}

fn quotas() -> impl Strategy<Value = Vec<Step>> {
    let create = |path: &str, text: &str| Step::Create {
        path: path.into(),
        data: Some(text.into()),
        acl: 0,
        kind: 0,
        owner: 1,
        cversion: CVersion::Next,
    };
    let limits = prop_oneof![Just("/zookeeper/quota/a"), Just("/zookeeper/quota/a/b"), Just("/zookeeper/quota/c")];
    vec((limits, quota_text(), any::<bool>(), any::<bool>()), 1..4).prop_map(move |quotas| {
        let mut steps = vec![create("/a", "1"), create("/a/b", "22"), create("/c", "333")];
        for (path, text, limits, stats) in quotas {
            steps.extend([create("/zookeeper/quota/a", ""), create(path, "")]);
            steps.extend(limits.then(|| create(&format!("{path}/zookeeper_limits"), &text)));
            steps.extend(stats.then(|| create(&format!("{path}/zookeeper_stats"), "count=0,bytes=0")));
        }
        steps
    })
}

/// The lists that ACL numbers mean.
pub fn acl(number: u8) -> Vec<u8> {
    match number {
        0 | 1 => AclVec::OPEN.as_bytes().to_vec(),
        2 => AclVec::encode(&[Acl::new(1, "world", "anyone")]),
        3 => AclVec::encode(&[Acl::new(31, "digest", "u:h"), Acl::new(1, "ip", "10.0.0.0/8")]),
        _ => AclVec::NULL.as_bytes().to_vec(),
    }
}

/// Makes txns of steps, in the light of what is there.
#[derive(Debug, Default)]
pub struct Writer {
    past: Vec<Vec<u8>>,
}

impl Writer {
    /// The next entry, encoded.
    pub fn write(&mut self, model: &Model, step: &Step) -> Vec<u8> {
        if let Step::Replay(at) = step
            && !self.past.is_empty()
        {
            let entry = &self.past[at % self.past.len()];
            if !leaves_order_open(model, entry) {
                return entry.clone();
            }
        }
        let mut session = SessionId(7);
        let (op, body) = match step {
            Step::Multi { steps, fails_at } => multi(model, steps, *fails_at),
            Step::CloseSession { session: number, list } => {
                session = SessionId(i64::from(*number));
                let mine = model.ephemerals(session.0);
                let paths = |paths: Vec<String>| {
                    CloseSessionTxn { paths_to_delete: Some(paths.iter().map(|p| Some(p.as_str().into())).collect()) }
                        .to_vec()
                };
                let body = match list {
                    // Which of several goes first is the tree's own affair (in Apache a hash set's), so one at most is
                    // left to be found.
                    0 if mine.len() < 2 => Vec::new(),
                    1 => paths(mine.into_iter().skip(1).collect()),
                    2 => paths(mine.into_iter().chain(["/a".to_owned(), "/no/such".to_owned()]).collect()),
                    _ => paths(mine),
                };
                (OpCode::CloseSession, body)
            }
            Step::CreateSession => (OpCode::CreateSession, CreateSessionTxn { timeout_ms: 4000 }.to_vec()),
            Step::Error(err) => (OpCode::Error, ErrorTxn { err: ErrorCode(*err) }.to_vec()),
            Step::Replay(_) => (OpCode::Error, ErrorTxn { err: ErrorCode::NO_NODE }.to_vec()),
            simple => {
                if let Step::Create { owner, .. } = simple {
                    session = SessionId(i64::from(*owner));
                }
                one(model, simple)
            }
        };
        let zxid = model.last.next();
        let mut entry = TxnHeader { session, cxid: Xid(1), zxid, time_ms: 1000 + zxid.0, op }.to_vec();
        entry.extend_from_slice(&body);
        self.past.push(entry.clone());
        entry
    }
}

/// Does it end a session without a list of its ephemerals, which by now are several, one perhaps below another? As at
/// `Step::CloseSession`, their order is the tree's own affair then.
fn leaves_order_open(model: &Model, entry: &[u8]) -> bool {
    let mut reader = Reader::new(entry);
    let header: TxnHeader = reader.read().unwrap();
    header.op == OpCode::CloseSession && reader.remaining().is_empty() && model.ephemerals(header.session.0).len() > 1
}

fn one(model: &Model, step: &Step) -> (OpCode, Vec<u8>) {
    match step {
        Step::Create { path, data, acl: number, kind, cversion, .. } => {
            let parent = &path[..path.rfind('/').unwrap_or(0)];
            let parent_cversion = match cversion {
                CVersion::Next => model.nodes.get(parent).map_or(1, |n| n.stat.cversion.wrapping_add(1)),
                CVersion::Old => -1,
                CVersion::Odd(n) => *n,
            };
            let (acl, data) = (acl(*number), data.as_deref());
            let Ok(acl) = AclVec::parse(&acl) else { unreachable!() };
            let path = Some(path.as_str().into());
            match kind {
                0..=3 | 6 => {
                    let op = if kind % 2 == 0 { OpCode::Create } else { OpCode::Create2 };
                    let ephemeral = matches!(kind, 2 | 3);
                    (op, CreateTxn { path, data, acl, ephemeral, parent_cversion }.to_vec())
                }
                4 => (OpCode::CreateContainer, CreateContainerTxn { path, data, acl, parent_cversion }.to_vec()),
                _ => (OpCode::CreateTtl, CreateTtlTxn { path, data, acl, parent_cversion, ttl: 1234 }.to_vec()),
            }
        }
        Step::Delete { path, container } => {
            let op = if *container { OpCode::DeleteContainer } else { OpCode::Delete };
            (op, DeleteTxn { path: Some(path.as_str().into()) }.to_vec())
        }
        Step::SetData { path, data, version } => {
            let current = model.nodes.get(path).map_or(0, |n| n.stat.version);
            let version = version.unwrap_or(current.wrapping_add(1));
            let txn = SetDataTxn { path: Some(path.as_str().into()), data: data.as_deref(), version };
            (OpCode::SetData, txn.to_vec())
        }
        Step::SetAcl { path, acl: number, version } => {
            let current = model.nodes.get(path).map_or(0, |n| n.stat.aversion);
            let version = version.unwrap_or(current.wrapping_add(1));
            let acl = acl(*number);
            let Ok(acl) = AclVec::parse(&acl) else { unreachable!() };
            (OpCode::SetAcl, SetAclTxn { path: Some(path.as_str().into()), acl, version }.to_vec())
        }
        Step::Check { path } => {
            (OpCode::Check, CheckVersionTxn { path: Some(path.as_str().into()), version: 1 }.to_vec())
        }
        _ => unreachable!("not a step of its own"),
    }
}

/// The operations see the tree before the multi; what that makes odd is a conflict more.
fn multi(model: &Model, steps: &[Step], fails_at: Option<usize>) -> (OpCode, Vec<u8>) {
    let mut subs: Vec<(i32, Vec<u8>)> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        match fails_at {
            Some(at) if i == at => subs.push((-1, ErrorTxn { err: ErrorCode::NO_NODE }.to_vec())),
            Some(at) if i > at => subs.push((-1, ErrorTxn { err: ErrorCode::RUNTIME_INCONSISTENCY }.to_vec())),
            _ => {
                // setACL can't stand in a multi.
                let step = if let Step::SetAcl { path, .. } = step {
                    Step::Check { path: path.clone() }
                } else {
                    step.clone()
                };
                let (op, body) = one(model, &step);
                subs.push((op.code(), body));
            }
        }
    }
    let txns = subs.iter().map(|(kind, data)| SubTxn { kind: *kind, data: Some(data) }).collect();
    (OpCode::Multi, MultiTxn { txns: Some(txns) }.to_vec())
}

/// An entry as the tree is given it.
pub fn parse(entry: &[u8]) -> TxnEntry<'_> {
    let mut r = Reader::new(entry);
    let Ok(header) = r.read::<TxnHeader>() else { unreachable!("written here") };
    let Ok(txn) = Txn::read_body(header.op, false, &mut r) else { unreachable!("written here") };
    TxnEntry { header, txn, digest: None }
}
