//! `ostler snapshot summary`: totals and the biggest subtrees, in memory bounded by the depth that is asked for.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Result, anyhow};
use serde::Serialize;
use storage::snapshot::decode::SnapshotVisitor;
use wire::jute::Buffer;
use wire::{AclVec, SessionId, StatPersisted};

use super::Summary;
use super::read::{client_path, read};
use crate::{Outcome, input, text};

/// How many subtrees are counted at most; beyond it, new ones are added up in their parent only.
const SUBTREES_MAX: usize = 1 << 20;

/// What a subtree holds, its root included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Total {
    znodes: u64,
    /// Of data.
    bytes: u64,
    ephemerals: u64,
}

impl Total {
    fn add(&mut self, bytes: u64, is_ephemeral: bool) {
        self.znodes += 1;
        self.bytes += bytes;
        self.ephemerals += u64::from(is_ephemeral);
    }
}

#[derive(Debug, Default)]
struct Counter {
    depth: usize,
    sessions: u64,
    acls: u64,
    all: Total,
    path_bytes: u64,
    biggest: Option<(u64, String)>,
    subtrees: BTreeMap<String, Total>,
    is_cut: bool,
}

impl SnapshotVisitor for Counter {
    fn session(&mut self, _: SessionId, _: i32) {
        self.sessions += 1;
    }
    fn acl(&mut self, _: i64, _: AclVec<'_>) {
        self.acls += 1;
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, _: i64, stat: &StatPersisted) -> Result<(), String> {
        let bytes = data.map_or(0, <[u8]>::len) as u64;
        let is_ephemeral = is_session(stat.ephemeral_owner);
        self.all.add(bytes, is_ephemeral);
        self.path_bytes += path.len() as u64;
        if self.biggest.as_ref().is_none_or(|(most, _)| bytes > *most) {
            self.biggest = Some((bytes, client_path(path).to_owned()));
        }
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends.take(self.depth).filter(|end| *end > 0) {
            let prefix = &path[..end];
            if let Some(total) = self.subtrees.get_mut(prefix) {
                total.add(bytes, is_ephemeral);
            } else if self.subtrees.len() < SUBTREES_MAX {
                self.subtrees.entry(prefix.to_owned()).or_default().add(bytes, is_ephemeral);
            } else {
                self.is_cut = true;
            }
        }
        Ok(())
    }
}

/// Is the owner a session: not none, not the mark of a container or of a TTL (`EphemeralType.get`)?
fn is_session(owner: i64) -> bool {
    owner != 0 && owner != i64::MIN && owner.cast_unsigned() >> 56 != 0xff
}

/// Prints the totals.
pub fn run(args: &Summary, out: &mut dyn Write) -> Result<Outcome> {
    let file = input::snapshot(&args.path_of)?;
    let mut counter = Counter { depth: args.depth, ..Counter::default() };
    let end = read(&file, &mut counter)?.map_err(|error| anyhow!("{} is damaged: {error}", file.shown()))?;
    let mut subtrees: Vec<(&String, &Total)> = counter.subtrees.iter().collect();
    let size = |total: &Total| if args.by_count { (total.znodes, total.bytes) } else { (total.bytes, total.znodes) };
    subtrees.sort_by(|(left_path, left), (right_path, right)| {
        size(right).cmp(&size(left)).then_with(|| left_path.cmp(right_path))
    });
    subtrees.truncate(args.top);
    if args.json {
        let named = subtrees.iter().map(|(path, total)| {
            serde_json::json!({
                "path": path, "znodes": total.znodes, "bytes": total.bytes, "ephemerals": total.ephemerals
            })
        });
        let object = serde_json::json!({
            "file": file.shown(),
            "file_bytes": file.length,
            "znodes": end.nodes,
            "data_bytes": counter.all.bytes,
            "path_bytes": counter.path_bytes,
            "ephemerals": counter.all.ephemerals,
            "sessions": counter.sessions,
            "acls": counter.acls,
            "biggest_znode": counter.biggest.as_ref().map(|(_, path)| path),
            "biggest_znode_bytes": counter.biggest.as_ref().map(|(bytes, _)| bytes),
            "last_zxid": end.last_processed.map(|zxid| zxid.to_string()),
            "subtrees": named.collect::<Vec<_>>(),
        });
        writeln!(out, "{object}")?;
        return Ok(Outcome::Good);
    }
    let mut rows = vec![
        vec!["file".to_owned(), format!("{}, {}", file.shown(), text::bytes(file.length))],
        vec!["znodes".to_owned(), format!("{}, {} of them ephemeral", end.nodes, counter.all.ephemerals)],
        vec!["data".to_owned(), text::bytes(counter.all.bytes)],
        vec!["paths".to_owned(), text::bytes(counter.path_bytes)],
        vec!["sessions".to_owned(), counter.sessions.to_string()],
        vec!["ACLs".to_owned(), counter.acls.to_string()],
    ];
    if let Some((bytes, path)) = &counter.biggest {
        let path = text::escaped(path);
        rows.push(vec!["biggest znode".to_owned(), format!("{path}, {}", text::bytes(*bytes))]);
    }
    if let Some(zxid) = end.last_processed {
        rows.push(vec!["last zxid".to_owned(), zxid.to_string()]);
    }
    write!(out, "{}", text::table(&rows, &[]))?;
    if !subtrees.is_empty() {
        writeln!(out)?;
        let mut rows = vec![["SUBTREE", "ZNODES", "DATA", "SHARE"].map(str::to_owned).to_vec()];
        let whole = if args.by_count { counter.all.znodes } else { counter.all.bytes }.max(1);
        rows.extend(subtrees.iter().map(|(path, total)| {
            let share = 100.0 * size(total).0 as f64 / whole as f64;
            let (znodes, bytes) = (total.znodes.to_string(), text::bytes(total.bytes));
            vec![text::escaped(path), znodes, bytes, format!("{share:.1} %")]
        }));
        write!(out, "{}", text::table(&rows, &[false, true, true, true]))?;
    }
    if counter.is_cut {
        writeln!(out, "more than {SUBTREES_MAX} subtrees: some were not counted; a smaller --depth counts all")?;
    }
    Ok(Outcome::Good)
}
