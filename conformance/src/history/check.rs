//! What must hold of histories, whatever the servers went through.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::{Entry, Op, Outcome};

/// What there was in histories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Writes whose outcome nobody was told.
    pub unknown: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Of those, behind a sync.
    pub synced: u64,
    /// Reads behind a sync that did not show what had been acknowledged before: only Apache's leaders may do that.
    pub synced_stale: u64,
    /// Watches that fired.
    pub events: u64,
    /// Connections, the first ones too.
    pub connections: u64,
    /// Sessions that had expired.
    pub expired: u64,
}

impl Tally {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.reads += other.reads;
        self.synced += other.synced;
        self.synced_stale += other.synced_stale;
        self.events += other.events;
        self.connections += other.connections;
        self.expired += other.expired;
    }
}

/// A write that was acknowledged.
struct Write<'a> {
    client: usize,
    op: &'a Op,
    began: u64,
    ended: u64,
    zxid: i64,
    value: i64,
    name: &'a str,
}

/// Looks at the histories of all clients, one each.
///
/// * Writes have zxids of their own, in an order that real time agrees with; those of a session, in the order in which it
///   sent them.
/// * A session never reads what is older than what it read or wrote before, at whichever server; data goes with the mzxid
///   that everybody saw it with, and numbers grow with zxids.
/// * A change of the shared znode is told before it can be read.
/// * Compare-and-set succeeds once for each version; sequential names are given once, in the order of zxids.
pub fn check(histories: &[Vec<Entry>]) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut writes = Vec::new();
    let mut seen = BTreeMap::new();
    for (client, history) in histories.iter().enumerate() {
        one(client, history, &mut tally, &mut seen).with_context(|| format!("client {client}"))?;
        collect(client, history, &mut writes);
    }
    ordered(&mut writes)?;
    numbers(&writes, &mut seen)?;
    versions(&writes)?;
    names(&writes)?;
    Ok(tally)
}

/// The zxids at which the data of each client's znode was seen, and what it was.
type Seen = BTreeMap<(usize, i64), i64>;

fn one(client: usize, history: &[Entry], tally: &mut Tally, seen: &mut Seen) -> Result<()> {
    let mut last_zxid = 0;
    let mut last_write = 0;
    // What this session saw last of each znode, the shared one too.
    let mut known: BTreeMap<Option<usize>, i64> = BTreeMap::new();
    let mut watched = None;
    for entry in history {
        match entry {
            Entry::Connected { is_new, .. } => {
                tally.connections += 1;
                if *is_new {
                    (last_zxid, last_write, watched) = (0, 0, None);
                    known.clear();
                }
            }
            Entry::Expired => tally.expired += 1,
            Entry::Event => {
                tally.events += 1;
                ensure!(watched.take().is_some(), "a watch fired that was not set");
            }
            Entry::Request { op, outcome, .. } => {
                let Outcome::Done { zxid, mzxid, value, .. } = outcome else {
                    tally.unknown += u64::from(op.is_write() && *outcome == Outcome::Unknown);
                    tally.refused += u64::from(*outcome != Outcome::Unknown);
                    continue;
                };
                ensure!(*zxid >= last_zxid, "{op:?} was answered at 0x{zxid:x}, behind 0x{last_zxid:x}");
                last_zxid = *zxid;
                if op.is_write() {
                    tally.writes += 1;
                    ensure!(*zxid > last_write, "{op:?} has 0x{zxid:x}, the write before it 0x{last_write:x}");
                    last_write = *zxid;
                }
                match op {
                    Op::Set(_) => drop(known.insert(Some(client), *zxid)),
                    Op::Compare(_) => drop(known.insert(None, *mzxid)),
                    Op::ReadShared => {
                        tally.reads += 1;
                        not_back(&mut known, None, *mzxid)?;
                        if let Some(since) = watched {
                            ensure!(*mzxid <= since, "0x{mzxid:x} was read, the watch from 0x{since:x} had not fired");
                        }
                        watched = Some(*mzxid);
                    }
                    Op::Read(of) | Op::Synced { of, .. } => {
                        tally.reads += 1;
                        not_back(&mut known, Some(*of), *mzxid)?;
                        let first = *seen.entry((*of, *mzxid)).or_insert(*value);
                        ensure!(first == *value, "/w/{of} at 0x{mzxid:x} is {value} here, {first} elsewhere");
                        if let Op::Synced { floor, .. } = op {
                            tally.synced += 1;
                            tally.synced_stale += u64::from(value < floor);
                        }
                    }
                    Op::Multi(_) | Op::Ephemeral(_) | Op::Sequential(_) | Op::Ttl { .. } => {}
                }
            }
        }
    }
    Ok(())
}

fn not_back(known: &mut BTreeMap<Option<usize>, i64>, of: Option<usize>, mzxid: i64) -> Result<()> {
    let before = known.insert(of, mzxid).unwrap_or_default();
    let what = of.map_or_else(|| "/r".to_owned(), |of| format!("/w/{of}"));
    ensure!(mzxid >= before, "{what} of 0x{mzxid:x} was read, and before of 0x{before:x}");
    Ok(())
}

fn collect<'a>(client: usize, history: &'a [Entry], into: &mut Vec<Write<'a>>) {
    for entry in history {
        let Entry::Request { op, began, ended, outcome: Outcome::Done { zxid, value, name, .. } } = entry else {
            continue;
        };
        if op.is_write() {
            into.push(Write { client, op, began: *began, ended: *ended, zxid: *zxid, value: *value, name });
        }
    }
}

/// Sorts by zxid. What was answered before another was sent has the smaller one.
fn ordered(writes: &mut [Write<'_>]) -> Result<()> {
    writes.sort_by_key(|it| it.zxid);
    let mut latest_end: Option<&Write<'_>> = None;
    // From the highest zxid down: nothing below may have been sent after something above was answered.
    for write in writes.iter().rev() {
        if let Some(other) = latest_end
            && write.began > other.ended
        {
            bail!(
                "client {}'s {:?} (0x{:x}) was answered before client {}'s {:?} (0x{:x}) was sent",
                other.client,
                other.op,
                other.zxid,
                write.client,
                write.op,
                write.zxid
            );
        }
        if latest_end.is_none_or(|it| write.ended < it.ended) {
            latest_end = Some(write);
        }
    }
    for pair in writes.windows(2) {
        ensure!(pair[0].zxid != pair[1].zxid, "{:?} and {:?} have 0x{:x}", pair[0].op, pair[1].op, pair[0].zxid);
    }
    Ok(())
}

/// What was acknowledged was seen under its zxid, and numbers grow with zxids.
fn numbers(writes: &[Write<'_>], seen: &mut Seen) -> Result<()> {
    for write in writes {
        let Op::Set(number) = write.op else { continue };
        let first = *seen.entry((write.client, write.zxid)).or_insert(*number);
        ensure!(first == *number, "/w/{} was set to {number} by 0x{:x}, and read as {first}", write.client, write.zxid);
    }
    let mut last = (usize::MAX, 0);
    for ((of, zxid), value) in seen {
        ensure!(last.0 != *of || last.1 < *value, "/w/{of} is {value} at 0x{zxid:x}, and was {} before", last.1);
        last = (*of, *value);
    }
    Ok(())
}

fn versions(writes: &[Write<'_>]) -> Result<()> {
    let mut last = -1;
    for write in writes {
        let Op::Compare(version) = write.op else { continue };
        ensure!(write.value == i64::from(*version) + 1, "{:?} made version {}", write.op, write.value);
        ensure!(write.value > last, "version {} of /r is behind {last} by its zxid 0x{:x}", write.value, write.zxid);
        last = write.value;
    }
    Ok(())
}

fn names(writes: &[Write<'_>]) -> Result<()> {
    let mut last = "";
    for write in writes.iter().filter(|it| matches!(it.op, Op::Sequential(_))) {
        ensure!(write.name > last, "{} of 0x{:x} came behind {last}", write.name, write.zxid);
        last = write.name;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(op: Op, time: u64, zxid: i64, mzxid: i64, value: i64) -> Entry {
        let name = if matches!(op, Op::Sequential(_)) { format!("/q/s-{value:010}") } else { String::new() };
        let outcome = Outcome::Done { zxid, mzxid, value, name };
        Entry::Request { op, began: time, ended: time + 1, outcome }
    }

    fn connected() -> Entry {
        Entry::Connected { session: 1, is_new: true }
    }

    fn fails(histories: &[Vec<Entry>], with: &str) {
        let why = format!("{:#}", check(histories).unwrap_err());
        assert!(why.contains(with), "{why}");
    }

    #[test]
    fn a_good_history_is_good() {
        let one = vec![
            connected(),
            done(Op::Set(1), 1, 5, 0, 0),
            done(Op::Read(0), 3, 5, 5, 1),
            done(Op::ReadShared, 5, 5, 2, 0),
            Entry::Event,
            done(Op::ReadShared, 9, 8, 8, 1),
        ];
        let two = vec![connected(), done(Op::Compare(0), 7, 8, 8, 1), done(Op::Synced { of: 0, floor: 1 }, 9, 8, 5, 1)];
        let tally = check(&[one, two]).unwrap();
        assert_eq!((tally.writes, tally.reads, tally.events, tally.synced_stale), (2, 4, 1, 0));
    }

    #[test]
    fn writes_against_real_time_are_seen() {
        let one = vec![connected(), done(Op::Set(1), 1, 9, 0, 0)];
        let two = vec![connected(), done(Op::Set(1), 5, 8, 0, 0)];
        fails(&[one, two], "was answered before");
    }

    #[test]
    fn one_zxid_for_two_writes_is_seen() {
        let one = vec![connected(), done(Op::Set(1), 1, 9, 0, 0)];
        let two = vec![connected(), done(Op::Multi(1), 1, 9, 0, 0)];
        fails(&[one, two], "have 0x9");
    }

    #[test]
    fn reads_that_go_back_are_seen() {
        let reads = |first, second| {
            vec![connected(), done(Op::Read(0), 1, 9, first, first), done(Op::Read(0), 3, 9, second, second)]
        };
        fails(&[reads(5, 4)], "was read, and before");
        let moved = |is_new| {
            let mut history = reads(5, 4);
            history.insert(2, Entry::Connected { session: 1, is_new });
            history
        };
        fails(&[moved(false)], "was read, and before");
        assert!(check(&[moved(true)]).is_ok(), "another session may see less");
        fails(&[vec![connected(), done(Op::Set(3), 1, 9, 0, 0), done(Op::Read(0), 3, 9, 5, 2)]], "and before");
    }

    #[test]
    fn different_data_under_one_zxid_is_seen() {
        let read = |value| vec![connected(), done(Op::Read(0), 1, 9, 5, value)];
        fails(&[read(1), read(2)], "elsewhere");
        fails(&[vec![connected(), done(Op::Set(3), 1, 5, 0, 0)], read(2)], "read as 2");
        fails(&[vec![connected(), done(Op::Read(0), 1, 9, 5, 7), done(Op::Read(0), 3, 9, 6, 6)]], "and was 7 before");
    }

    #[test]
    fn a_change_that_is_read_before_it_is_told_is_seen() {
        let one = vec![connected(), done(Op::ReadShared, 1, 5, 2, 0), done(Op::ReadShared, 3, 8, 8, 1)];
        fails(&[one], "had not fired");
    }

    #[test]
    fn names_and_versions_that_are_given_twice_are_seen() {
        let two =
            |op: fn(i64) -> Op, value| vec![connected(), done(op(0), 1, 5, 5, value), done(op(0), 3, 6, 6, value)];
        fails(&[two(Op::Sequential, 1)], "came behind");
        fails(&[two(|_| Op::Compare(0), 1)], "is behind");
    }

    #[test]
    fn a_sync_that_shows_too_little_is_counted() {
        let one = vec![connected(), done(Op::Synced { of: 0, floor: 4 }, 1, 5, 5, 3)];
        assert_eq!(check(&[one]).unwrap().synced_stale, 1);
    }
}
