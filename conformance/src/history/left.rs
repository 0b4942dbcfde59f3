//! What servers have left, and whether it is what their clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

use super::client::ttl;
use super::{Entry, Op, Outcome};
use crate::raw::Connection;
use crate::script::{path, watch};

/// What an owner begins with that is a TTL. Source: `EphemeralType`.
const TTL: u64 = 0xff;

/// A znode: its data, and its Stat byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    /// The data.
    pub data: Vec<u8>,
    /// czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeralOwner, dataLength, numChildren, pzxid.
    pub stat: Vec<u8>,
}

impl Znode {
    fn long(&self, at: usize) -> i64 {
        let bytes = self.stat.get(at..at + 8).and_then(|it| it.try_into().ok());
        bytes.map_or(0, i64::from_be_bytes)
    }

    /// The session that an ephemeral belongs to; 0: it is none.
    pub fn owner(&self) -> i64 {
        // Of one with a TTL the same place has that, behind a byte that no session's id begins with.
        let owner = self.long(44);
        if owner.cast_unsigned() >> 56 == TTL { 0 } else { owner }
    }

    fn mzxid(&self) -> i64 {
        self.long(8)
    }

    fn number(&self) -> Result<i64> {
        let text = String::from_utf8_lossy(&self.data);
        text.parse().with_context(|| format!("{text:?} is no number"))
    }
}

/// All znodes that a client can see, by their paths, but for `/zookeeper`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left(pub BTreeMap<String, Znode>);

impl Left {
    /// Walks through a server, behind a sync.
    pub fn of(addr: SocketAddr) -> Result<Self> {
        let (mut connection, _) = Connection::session(addr)?;
        ensure!(connection.call(1, 9, &path("/"))?.err == 0, "a sync was refused");
        let mut left = Self::default();
        let mut waiting = vec!["/".to_owned()];
        let mut xid = 1;
        while let Some(path) = waiting.pop() {
            xid += 2;
            let data = connection.call(xid, 4, &watch(&path, false))?;
            let children = connection.call(xid + 1, 8, &watch(&path, false))?;
            if data.err == -101 || children.err == -101 {
                // An ephemeral that went meanwhile.
                continue;
            }
            ensure!(data.err == 0 && children.err == 0, "{path}: errors {} and {}", data.err, children.err);
            let length = data.body.first_chunk().map_or(0, |it| i32::from_be_bytes(*it)).max(0) as usize;
            let rest = data.body.get(4..).unwrap_or_default();
            let (data, stat) = rest.split_at_checked(length).context("a length beyond the frame")?;
            left.0.insert(path.clone(), Znode { data: data.to_vec(), stat: stat.to_vec() });
            for name in texts(&children.body)? {
                let child = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
                if child != "/zookeeper" {
                    waiting.push(child);
                }
            }
        }
        connection.call(xid + 2, -11, &[])?;
        Ok(left)
    }

    /// The first difference from another server's.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let paths: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let path = paths.into_iter().find(|it| self.0.get(*it) != other.0.get(*it))?;
        Some(format!("{path}: {:?} and {:?}", self.0.get(path), other.0.get(path)))
    }

    /// A znode with a TTL that is over soon.
    pub fn short_lived(&self) -> Option<&str> {
        self.children("/t").map(|(name, _)| name).find(|name| name.starts_with("short-"))
    }

    fn get(&self, path: &str) -> Result<&Znode> {
        self.0.get(path).with_context(|| format!("{path} is gone"))
    }

    fn children<'a>(&'a self, parent: &'a str) -> impl Iterator<Item = (&'a str, &'a Znode)> {
        let below = self.0.range(format!("{parent}/")..format!("{parent}0"));
        below.map(move |(path, znode)| (&path[parent.len() + 1..], znode))
    }
}

fn texts(body: &[u8]) -> Result<Vec<String>> {
    let int = |at: usize| -> Result<usize> {
        let bytes: [u8; 4] = body.get(at..at + 4).context("a list that is cut off")?.try_into()?;
        Ok(i32::from_be_bytes(bytes).max(0) as usize)
    };
    let (mut names, mut at) = (Vec::new(), 4);
    for _ in 0..int(0)? {
        let length = int(at)?;
        let name = body.get(at + 4..at + 4 + length).context("a name that is cut off")?;
        names.push(String::from_utf8(name.to_vec())?);
        at += 4 + length;
    }
    Ok(names)
}

/// Every acknowledged write is there, nothing was done twice, and of multis nothing by halves; ephemerals are there if their
/// sessions are, and no others; of znodes with TTLs those that live on, and no others.
pub fn check_left(histories: &[Vec<Entry>], left: &Left, sessions: &[i64]) -> Result<()> {
    for (client, history) in histories.iter().enumerate() {
        one(client, history, left, sessions).with_context(|| format!("what client {client} was told"))?;
    }
    for (name, znode) in left.children("/e") {
        ensure!(sessions.contains(&znode.owner()), "/e/{name} is of session 0x{:x}, which is over", znode.owner());
    }
    if let Some(name) = left.short_lived() {
        bail!("/t/{name} is over, and still there");
    }
    let mut written = BTreeSet::new();
    for (name, znode) in left.children("/q") {
        ensure!(written.insert(&znode.data), "/q/{name} was created a second time: {:?}", znode.data);
    }
    Ok(())
}

fn one(client: usize, history: &[Entry], left: &Left, sessions: &[i64]) -> Result<()> {
    // The last number that was acknowledged, and with which zxid; the last one that was sent.
    let (mut acknowledged, mut sent) = ((0, None), 0);
    let mut session = 0;
    for entry in history {
        let (op, outcome) = match entry {
            Entry::Connected { session: id, .. } => {
                session = *id;
                continue;
            }
            Entry::Request { op, outcome, .. } => (op, outcome),
            Entry::Expired | Entry::Event => continue,
        };
        let done = match outcome {
            Outcome::Done { zxid, name, value, .. } => Some((*zxid, name, *value)),
            Outcome::Refused(_) | Outcome::Unknown => None,
        };
        match (op, done) {
            (Op::Set(number), done) => {
                sent = *number;
                if let Some((zxid, ..)) = done {
                    acknowledged = (*number, Some(zxid));
                }
            }
            (Op::Multi(number), Some(_)) => drop(left.get(&format!("/m/{client}/{number}"))?),
            (Op::Sequential(number), Some((_, name, _))) => {
                let data = &left.get(name)?.data;
                ensure!(*data == format!("{client}:{number}").as_bytes(), "{name} has the data {data:?}");
            }
            (Op::Ttl { number, is_short: false }, Some(_)) => drop(left.get(&ttl(client, *number, false).0)?),
            (Op::Ephemeral(name), Some(_)) if sessions.contains(&session) => {
                let owner = left.get(&format!("/e/{name}"))?.owner();
                ensure!(owner == session, "/e/{name} is of 0x{owner:x}, not of 0x{session:x}");
            }
            (Op::Compare(_), Some((zxid, _, value))) => {
                let shared = left.get("/r")?;
                ensure!(shared.mzxid() >= zxid, "version {value} of /r (0x{zxid:x}) is gone");
            }
            _ => {}
        }
    }
    let own = left.get(&format!("/w/{client}"))?;
    let number = own.number()?;
    ensure!(
        (acknowledged.0..=sent).contains(&number),
        "/w/{client} is {number}; {} was acknowledged, {sent} was sent",
        acknowledged.0
    );
    if let (true, Some(zxid)) = (number == acknowledged.0, acknowledged.1) {
        ensure!(own.mzxid() == zxid, "/w/{client} was acknowledged with 0x{zxid:x}, and has 0x{:x}", own.mzxid());
    }
    let parent = format!("/m/{client}");
    let data = left.get(&parent)?.number()?;
    let mut newest = 0;
    for (name, _) in left.children(&parent) {
        newest = newest.max(name.parse()?);
    }
    if newest != data {
        bail!("half a multi: {parent} is {data}, and its newest child {newest}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn znode(data: &str, mzxid: i64, owner: i64) -> Znode {
        let mut stat = vec![0; 68];
        stat[8..16].copy_from_slice(&mzxid.to_be_bytes());
        stat[44..52].copy_from_slice(&owner.to_be_bytes());
        Znode { data: data.into(), stat }
    }

    fn left(more: &[(&str, Znode)]) -> Left {
        let mut all = BTreeMap::new();
        for (path, data) in [("/w/0", "0"), ("/m/0", "0"), ("/r", "0")] {
            all.insert(path.to_owned(), znode(data, 1, 0));
        }
        all.extend(more.iter().map(|(path, znode)| ((*path).to_owned(), znode.clone())));
        Left(all)
    }

    fn history(op: Op, name: &str, outcome: bool) -> Vec<Vec<Entry>> {
        let done = Outcome::Done { zxid: 7, mzxid: 0, value: 0, name: name.to_owned() };
        let outcome = if outcome { done } else { Outcome::Unknown };
        let request = Entry::Request { op, began: 0, ended: 1, outcome };
        vec![vec![Entry::Connected { session: 5, is_new: true }, request]]
    }

    fn fails(histories: &[Vec<Entry>], left: &Left, with: &str) {
        let why = format!("{:#}", check_left(histories, left, &[5]).unwrap_err());
        assert!(why.contains(with), "{why}");
    }

    #[test]
    fn a_write_that_is_gone_is_seen() {
        fails(&history(Op::Set(1), "", true), &left(&[]), "1 was acknowledged");
        fails(&history(Op::Set(1), "", true), &left(&[("/w/0", znode("1", 6, 0))]), "and has 0x6");
        check_left(&history(Op::Set(1), "", true), &left(&[("/w/0", znode("1", 7, 0))]), &[5]).unwrap();
        fails(&history(Op::Multi(1), "", true), &left(&[]), "/m/0/1 is gone");
        fails(&history(Op::Sequential(1), "/q/s-1", true), &left(&[]), "is gone");
        fails(&history(Op::Ephemeral("0-1".to_owned()), "", true), &left(&[]), "is gone");
        fails(&history(Op::Compare(0), "", true), &left(&[]), "of /r");
    }

    #[test]
    fn a_write_of_unknown_outcome_may_be_there_or_not() {
        for number in ["0", "1"] {
            let left = left(&[("/w/0", znode(number, 9, 0))]);
            check_left(&history(Op::Set(1), "", false), &left, &[5]).unwrap();
        }
        fails(&history(Op::Set(1), "", false), &left(&[("/w/0", znode("2", 9, 0))]), "1 was sent");
    }

    #[test]
    fn halves_doubles_and_orphans_are_seen() {
        let none = [Vec::new()];
        fails(&none, &left(&[("/m/0/3", znode("", 7, 0))]), "half a multi");
        fails(&none, &left(&[("/q/s-1", znode("0:1", 7, 0)), ("/q/s-2", znode("0:1", 8, 0))]), "a second time");
        fails(&none, &left(&[("/e/0-1", znode("", 7, 6))]), "which is over");
        check_left(&none, &left(&[("/e/0-1", znode("", 7, 5))]), &[5]).unwrap();
    }

    #[test]
    fn ttls_that_are_over_and_those_that_are_not_are_told_apart() {
        let ttl = |is_short| history(Op::Ttl { number: 4, is_short }, "", true);
        fails(&ttl(false), &left(&[]), "/t/long-0-4 is gone");
        // The owner of one with a TTL is the TTL.
        let lives = znode("", 7, -1);
        assert_eq!(lives.owner(), 0);
        check_left(&ttl(false), &left(&[("/t/long-0-4", lives.clone())]), &[5]).unwrap();
        check_left(&ttl(true), &left(&[]), &[5]).unwrap();
        fails(&ttl(true), &left(&[("/t/short-0-4", lives)]), "is over, and still there");
    }

    #[test]
    fn differences_between_servers_are_seen() {
        let (one, other) = (left(&[]), left(&[("/x", znode("", 1, 0))]));
        assert_eq!(one.difference(&one), None);
        assert!(one.difference(&other).unwrap().starts_with("/x: None"));
    }
}
