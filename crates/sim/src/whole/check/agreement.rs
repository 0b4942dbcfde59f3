//! Agreement: two logs that have one txn have the same history before it, and what servers deliver are beginnings of one
//! history.

use wire::Zxid;

use super::Truth;

impl Truth {
    /// A server's log gets a txn behind another one.
    pub(super) fn check_same_before(&mut self, server: usize, before: Zxid, zxid: Zxid) {
        if let Some(other) = self.before.insert(zxid, before).filter(|it| *it != before) {
            let what = format!("server {} logs {zxid} behind {before}, and another has {other} before it", server + 1);
            self.wrong("agreement", what);
        }
    }

    /// A server has applied all up to `zxid`, which is not behind the end of what is committed.
    pub(super) fn check_was_delivered(&mut self, server: usize, zxid: Zxid) {
        if zxid > Zxid::ZERO && !self.is_committed(zxid) {
            let what = format!("server {} delivers {zxid}, which the committed history lacks", server + 1);
            self.wrong("agreement", what);
        }
    }

    /// What is delivered for the first time, oldest first, if it goes on where the committed history ends.
    pub(super) fn delivered_first(&mut self, who: &str, zxid: Zxid) -> Option<Vec<Zxid>> {
        let end = self.end();
        let (mut new, mut at) = (Vec::new(), zxid);
        while at > end {
            new.push(at);
            at = self.before(at);
        }
        if at != end {
            let what = format!("{who} delivers {zxid}, whose history lacks {end}, which was delivered");
            self.wrong("agreement", what);
            return None;
        }
        new.reverse();
        Some(new)
    }
}
