//! Writes are linearizable by zxid, and each answer is that of its own txn.

use wire::jute::Field;
use wire::txn::{MultiTxn, Txn, TxnEntry};
use wire::{ErrorCode, OpCode, Reader, SessionId, Xid, Zxid};

use super::Truth;

/// What a write came to.
#[derive(Debug, Clone, Copy)]
pub(in crate::whole) struct Outcome<'a> {
    pub(in crate::whole) session: SessionId,
    pub(in crate::whole) xid: Xid,
    pub(in crate::whole) zxid: Zxid,
    pub(in crate::whole) err: ErrorCode,
    /// The path that was created.
    pub(in crate::whole) created: Option<&'a str>,
    /// What became of each operation of a multi.
    pub(in crate::whole) results: &'a [ErrorCode],
    /// What was acknowledged to anybody when it was asked for.
    pub(in crate::whole) floor: Zxid,
}

impl Truth {
    /// A write's answer.
    pub(in crate::whole) fn on_write(&mut self, client: usize, outcome: Outcome<'_>) {
        let Outcome { session, xid, zxid, err, created, results, floor } = outcome;
        if err == ErrorCode::SYSTEM_ERROR {
            // Its leader's disk was full: it is refused before it has a zxid, and leaves nothing.
            return self.sessions.on_refused(session, xid);
        }
        if zxid <= floor {
            let what = format!("client {client}: {floor} was acknowledged before it asked, and its write is {zxid}");
            return self.wrong("writes", what);
        }
        let Some(blob) = self.txn(zxid).cloned() else {
            return self.wrong("writes", format!("client {client}: its write {} has {zxid}, which is no txn", xid.0));
        };
        let Ok(entry) = TxnEntry::from_slice(&blob) else { return };
        let (its, each) = match &entry.txn {
            Txn::Error(it) => (it.err, Vec::new()),
            // Whether it has failed is said with its operations alone.
            Txn::Multi(it) => (ErrorCode::OK, results_of(it)),
            _ => (ErrorCode::OK, Vec::new()),
        };
        let path = match &entry.txn {
            Txn::Create(it) => it.path.as_deref(),
            _ => None,
        };
        let is_its = (entry.header.session, entry.header.cxid) == (session, xid);
        if !is_its || its != err || each != results || created.is_some_and(|it| Some(it) != path) {
            let what = format!(
                "client {client}: write {} of {session} is answered {err:?} {results:?} as {zxid}: {entry:?}",
                xid.0
            );
            return self.wrong("writes", what);
        }
        self.acknowledged = self.acknowledged.max(zxid);
    }
}

/// What a committed multi makes of each operation: all of them work, or those before the first that fails are not done.
fn results_of(multi: &MultiTxn<'_>) -> Vec<ErrorCode> {
    let failed = OpCode::Error.code();
    let of = |data: Option<&[u8]>| Reader::new(data.unwrap_or_default()).read().unwrap_or(ErrorCode::MARSHALLING_ERROR);
    let all = multi.txns.iter().flatten();
    all.map(|it| if it.kind == failed { of(it.data) } else { ErrorCode::OK }).collect()
}
