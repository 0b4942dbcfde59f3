//! A read shows the committed state at its zxid, and a client never goes back.

use wire::{Stat, Zxid};

use super::{Model, Truth};

/// What a read showed.
#[derive(Debug, Clone)]
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

    /// A read's answer.
    pub(in crate::whole) fn on_read(&mut self, client: usize, zxid: Zxid, read: &Read<'_>) {
        if let Some(what) = wrong_in(&self.model, client, zxid, read) {
            self.wrong("reads", what);
        }
    }
}

/// What of it is not as it was at `zxid`.
pub(super) fn wrong_in(model: &Model, client: usize, zxid: Zxid, read: &Read<'_>) -> Option<String> {
    let (path, is) = (read.path, model.at(read.path, zxid));
    let (Some(stat), Some(is)) = (read.stat, is) else {
        let differs = read.stat.is_some() != is.is_some();
        return differs
            .then(|| format!("client {client} at {zxid}: {path} is {is:?}, and is shown as {:?}", read.stat));
    };
    let children = model.children(path, zxid);
    let shown = (stat.czxid, stat.mzxid, stat.pzxid, stat.version, stat.ephemeral_owner);
    let right = (is.czxid, is.mzxid, is.pzxid, is.version, is.owner.0);
    // What is shown as cversion counts deletions, too, and goes round where that is more than there is.
    let cversion = is.cversion.wrapping_mul(2).wrapping_sub(children.len() as i32);
    let is_right = shown == right && (stat.num_children as usize, stat.cversion) == (children.len(), cversion);
    let mut names = read.children.clone();
    if let Some(names) = &mut names {
        names.sort_unstable();
    }
    let differs = !is_right || read.data.is_some_and(|it| it != is.data) || names.is_some_and(|it| it != children);
    differs.then(|| format!("client {client} at {zxid}: {path} is {is:?} with {children:?}, and is shown as {read:?}"))
}
