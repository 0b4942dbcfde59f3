//! Primary integrity: no epoch begins without what is delivered of those before it.

use wire::Zxid;

use super::Truth;

impl Truth {
    pub(super) fn check_primary_integrity(&mut self, server: usize, zxid: Zxid) {
        let later = self.initial.range(zxid.epoch()..).skip_while(|(epoch, _)| **epoch == zxid.epoch());
        let lacks = |initial: Zxid| initial < zxid;
        let mut later = later.filter(|(epoch, initial)| self.established.contains_key(epoch) && lacks(initial.0));
        if let Some((epoch, _)) = later.next() {
            let what = format!("server {} delivers {zxid}, without which epoch {epoch} began", server + 1);
            self.wrong("primary integrity", what);
        }
    }
}
