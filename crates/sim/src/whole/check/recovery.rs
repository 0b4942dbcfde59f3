//! A disk never forgets what was durable: a start finds all of it, and nothing of another history.

use wire::Zxid;

use super::Truth;

impl Truth {
    /// A start has found a history that ends so.
    pub(in crate::whole) fn on_started(&mut self, server: usize, last: Zxid) {
        let durable = self.durable[server];
        if !self.has(last, durable) {
            let what = format!("server {} finds a history up to {last}, and {durable} was durable", server + 1);
            self.wrong("recovery", what);
        }
        self.ends_with(server, last);
    }

    /// Its history is about to be another one, which ends so.
    pub(in crate::whole) fn on_changing(&mut self, server: usize, to: Zxid) {
        // Until it is done, a crash may leave the one or the other, or the old one cut anywhere between.
        let durable = &mut self.durable[server];
        *durable = to.min(*durable);
        while !self.has(to, self.durable[server]) {
            self.durable[server] = self.before(self.durable[server]);
        }
    }

    /// Its history is another one.
    pub(in crate::whole) fn on_changed(&mut self, server: usize, to: Zxid) {
        self.ends_with(server, to);
    }

    fn ends_with(&mut self, server: usize, last: Zxid) {
        self.appended[server] = last;
        self.durable[server] = last;
        self.check_quorum_has(self.end());
    }

    /// The machine gets an empty disk.
    pub(in crate::whole) fn on_wiped(&mut self, server: usize) {
        self.wiped.insert(server);
        self.damaged.remove(&server);
        self.appended[server] = Zxid::ZERO;
        self.durable[server] = Zxid::ZERO;
    }
}
