//! Watches: an event comes once, to who asked for it, for what has happened; it comes before any reply that shows the change;
//! and none is lost, also not while its client is away.

use std::collections::{BTreeMap, BTreeSet};

use wire::Zxid;
use wire::watcher::EventType;

use super::Model;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::whole) enum Kind {
    /// A znode that was there: its data, and its end.
    Data,
    /// A znode that was not there.
    Exist,
    /// Its children, and its end.
    Child,
}

/// What one client watches, and from which zxid on.
#[derive(Debug, Default)]
pub(in crate::whole) struct Watches {
    set: BTreeMap<(String, Kind), Zxid>,
    /// Paths whose end was told while watches are set again, to who watched their data and their children: setWatches tells
    /// it for each, as in Apache.
    ended: BTreeSet<String>,
}

impl Watches {
    /// A read at this zxid has set one. One that is there already stays as it is.
    pub(in crate::whole) fn set(&mut self, path: &str, kind: Kind, zxid: Zxid) {
        self.set.entry((path.to_owned(), kind)).or_insert(zxid);
    }

    /// The session is over.
    pub(in crate::whole) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Those of a kind.
    pub(in crate::whole) fn of(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.set.keys().filter(move |it| it.1 == kind).map(|it| it.0.as_str())
    }

    /// Is nothing watched?
    pub(in crate::whole) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// An event comes, perhaps while its client sets watches again. `Err`: it may not.
    pub(in crate::whole) fn on_event(
        &mut self,
        path: &str,
        event: EventType,
        is_setting: bool,
        model: &Model,
    ) -> Result<(), String> {
        let kinds: &[Kind] = match event {
            EventType::Created | EventType::DataChanged => &[Kind::Data, Kind::Exist],
            EventType::Deleted => &[Kind::Data, Kind::Exist, Kind::Child],
            EventType::ChildrenChanged => &[Kind::Child],
        };
        let set = kinds.iter().filter_map(|&kind| Some((kind, self.set.remove(&(path.to_owned(), kind))?)));
        let set: Vec<(Kind, Zxid)> = set.collect();
        if set.is_empty() && event == EventType::Deleted && self.ended.remove(path) {
            return Ok(());
        }
        if is_setting && event == EventType::Deleted && set.len() > 1 {
            self.ended.insert(path.to_owned());
        }
        if set.is_empty() {
            return Err(format!("{event:?} of {path}, which it does not watch"));
        }
        let has_changed = |&(kind, after): &(Kind, Zxid)| {
            model.changes(path, after, Zxid(i64::MAX)).iter().any(|(_, it)| is_told(kind, *it))
        };
        if !set.iter().any(has_changed) {
            return Err(format!("{event:?} of {path}, which has not changed since {set:?}"));
        }
        Ok(())
    }

    /// A reply shows the state at `zxid`. `Err`: an event should have come before.
    pub(in crate::whole) fn on_shown(&self, zxid: Zxid, model: &Model) -> Result<(), String> {
        for ((path, kind), &after) in &self.set {
            let mut changes = model.changes(path, after, zxid).iter();
            if let Some((at, event)) = changes.find(|(_, it)| is_told(*kind, *it)) {
                return Err(format!(
                    "a reply shows {zxid}, and of {event:?} of {path} at {at} it has not heard (a watch of kind {kind:?}, set at {after})"
                ));
            }
        }
        Ok(())
    }

    /// The answer to a setWatches of a client that had seen `seen`: what is still watched has not changed.
    pub(in crate::whole) fn on_set_again(&mut self, zxid: Zxid, seen: Zxid, model: &Model) -> Result<(), String> {
        self.ended.clear();
        for ((path, kind), set) in &mut self.set {
            let is = model.at(path, zxid);
            let is_same = match kind {
                Kind::Data => is.is_some_and(|it| it.mzxid <= seen),
                Kind::Exist => is.is_none(),
                Kind::Child => is.is_some_and(|it| it.pzxid <= seen),
            };
            if !is_same {
                return Err(format!(
                    "setWatches at {zxid} says nothing of {path} ({kind:?}), seen last at {seen}: {is:?}"
                ));
            }
            *set = (*set).max(zxid);
        }
        Ok(())
    }
}

/// Does such a watch fire for it?
fn is_told(kind: Kind, event: EventType) -> bool {
    match kind {
        Kind::Data | Kind::Exist => event != EventType::ChildrenChanged,
        Kind::Child => matches!(event, EventType::ChildrenChanged | EventType::Deleted),
    }
}
