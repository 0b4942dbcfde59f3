//! What clients are answered: writes are linearizable by zxid, and each answer is that of its own txn; a read shows the
//! committed state at its zxid, and a client never goes back; a sync shows everything that was acknowledged to anybody when
//! it was asked for.

use wire::jute::Field;
use wire::txn::{MultiTxn, Txn, TxnEntry};
use wire::{ErrorCode, OpCode, Reader, SessionId, Stat, Xid, Zxid};

use super::Truth;

/// What a read showed.
#[derive(Debug)]
pub(in crate::whole) struct Read<'a> {
    /// Of which znode.
    pub(in crate::whole) path: &'a str,
    /// Its Stat; `None`: it is not there.
    pub(in crate::whole) stat: Option<Stat>,
    /// Its data, if they were asked for.
    pub(in crate::whole) data: Option<&'a [u8]>,
    /// Its children's names, if they were.
    pub(in crate::whole) children: Option<Vec<&'a str>>,
}

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
    /// A client that saw `seen` is answered at `zxid`.
    pub(in crate::whole) fn on_answer(&mut self, client: usize, seen: Zxid, zxid: Zxid) {
        if zxid < seen {
            self.wrong("reads", format!("client {client} saw {seen}, and is answered at {zxid}"));
        }
        self.on_shown_to(client, zxid);
        if zxid > self.end() {
            self.wrong("reads", format!("client {client} is answered at {zxid}, and {} is committed", self.end()));
        }
    }

    /// A sync's answer.
    pub(in crate::whole) fn on_synced(&mut self, client: usize, zxid: Zxid, floor: Zxid) {
        if zxid < floor {
            let what = format!("client {client}: {floor} was acknowledged before it asked, and its sync shows {zxid}");
            self.wrong("sync", what);
        }
    }

    /// A read's answer.
    pub(in crate::whole) fn on_read(&mut self, client: usize, zxid: Zxid, read: &Read<'_>) {
        let (path, is) = (read.path, self.model.at(read.path, zxid));
        let (Some(stat), Some(is)) = (read.stat, is) else {
            if read.stat.is_some() != is.is_some() {
                let what = format!("client {client} at {zxid}: {path} is {:?}, and is shown as {:?}", is, read.stat);
                self.wrong("reads", what);
            }
            return;
        };
        let children = self.model.children(path, zxid);
        let shown =
            (stat.czxid, stat.mzxid, stat.pzxid, stat.version, stat.ephemeral_owner, stat.num_children as usize);
        let right = (is.czxid, is.mzxid, is.pzxid, is.version, is.owner.0, children.len());
        let mut names = read.children.clone();
        if let Some(names) = &mut names {
            names.sort_unstable();
        }
        if shown != right || read.data.is_some_and(|it| it != is.data) || names.is_some_and(|it| it != children) {
            let what =
                format!("client {client} at {zxid}: {path} is {is:?} with {children:?}, and is shown as {read:?}");
            self.wrong("reads", what);
        }
    }

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
