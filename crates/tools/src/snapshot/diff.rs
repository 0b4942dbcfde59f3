//! `ostler snapshot diff`: what differs between two snapshots.
//!
//! The left one is remembered as two hashes a znode, 24 bytes and a table's slack, so that a hundred million znodes can be
//! compared in a few gigabytes; the right one streams by. Then the left one is read once more, for the names of what only
//! it has. Two znodes are equal if data, ACL and Stat are.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;

use anyhow::{Result, anyhow};
use serde_json::json;
use storage::snapshot::decode::{SnapshotEnd, SnapshotVisitor};
use wire::jute::Buffer;
use wire::{AclVec, Field, SessionId, StatPersisted};

use super::Diff;
use super::read::{client_path, read};
use crate::input::{self, Input};
use crate::{Outcome, text};

/// Hashes of what a znode holds: content and the rest of its Stat apart, so that a difference can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Image {
    data: u64,
    stat: u64,
}

/// Shows each znode as its path, the hash of it and its image; and each session.
struct Images<'a> {
    hasher: &'a RandomState,
    acls: HashMap<i64, Vec<u8>>,
    see: &'a mut dyn FnMut(&str, u64, Image),
    sessions: HashMap<i64, i32>,
}

impl SnapshotVisitor for Images<'_> {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.insert(session.0, timeout_ms);
    }
    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.acls.insert(id, acl.to_vec());
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        let open = AclVec::OPEN.to_vec();
        // The ids of a table are its own; what counts is the list.
        let acl = if acl_id == -1 { Some(&open) } else { self.acls.get(&acl_id) };
        let image = Image { data: self.hasher.hash_one(data), stat: self.hasher.hash_one((acl, stat.to_vec())) };
        (self.see)(path, self.hasher.hash_one(path), image);
        Ok(())
    }
}

fn images(
    file: &Input,
    hasher: &RandomState,
    see: &mut dyn FnMut(&str, u64, Image),
) -> Result<(SnapshotEnd, HashMap<i64, i32>)> {
    let mut visitor = Images { hasher, acls: HashMap::new(), see, sessions: HashMap::new() };
    let end = read(file, &mut visitor)?.map_err(|error| anyhow!("{} is damaged: {error}", file.shown()))?;
    Ok((end, visitor.sessions))
}

/// Prints the differences.
pub fn run(args: &Diff, out: &mut dyn Write) -> Result<Outcome> {
    let (left, right) = (input::snapshot(&args.left)?, input::snapshot(&args.right)?);
    let hasher = RandomState::new();
    let mut known: HashMap<u64, Image> = HashMap::new();
    let (left_end, left_sessions) = images(&left, &hasher, &mut |_, path, image| {
        known.insert(path, image);
    })?;
    let (mut added, mut changed, mut failed) = (0u64, 0u64, None);
    let mut tell = |kind: &str, path: &str, out: &mut dyn Write| {
        if args.brief || failed.is_some() {
            return;
        }
        let path = client_path(path);
        let written = if args.json {
            writeln!(out, "{}", json!({ "difference": kind, "path": path }))
        } else {
            writeln!(out, "{kind:<13} {}", text::escaped(path))
        };
        failed = written.err();
    };
    // Of those that both have, the image goes; what is left is only in the left one.
    let (right_end, right_sessions) = images(&right, &hasher, &mut |path, key, image| match known.remove(&key) {
        None => {
            added += 1;
            tell("only right", path, out);
        }
        Some(before) if before == image => {}
        Some(before) => {
            changed += 1;
            tell(if before.data == image.data { "stat or ACL" } else { "data" }, path, out);
        }
    })?;
    let removed = known.len() as u64;
    if removed > 0 && !args.brief {
        images(&left, &hasher, &mut |path, key, _| {
            if known.contains_key(&key) {
                tell("only left", path, out);
            }
        })?;
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let ids: BTreeSet<i64> = left_sessions.keys().chain(right_sessions.keys()).copied().collect();
    let mut sessions = 0;
    for id in ids {
        let (left, right) = (left_sessions.get(&id), right_sessions.get(&id));
        if left == right {
            continue;
        }
        sessions += 1;
        if args.brief {
            continue;
        }
        if args.json {
            let id = format!("{id:#x}");
            let session = json!({ "difference": "session", "session": id, "left_ms": left, "right_ms": right });
            writeln!(out, "{session}")?;
        } else {
            let of = match (left, right) {
                (Some(left), Some(right)) => format!("timeout {left} ms, right {right} ms"),
                (Some(_), None) => "only left".to_owned(),
                _ => "only right".to_owned(),
            };
            writeln!(out, "{:<13} {id:#x} {of}", "session")?;
        }
    }
    let is_same = added + changed + removed == 0 && sessions == 0;
    let digest = |end: &SnapshotEnd| end.digest.map(|digest| digest.digest.to_string());
    if args.json {
        let total = json!({
            "left": { "file": left.shown(), "znodes": left_end.nodes, "digest": digest(&left_end) },
            "right": { "file": right.shown(), "znodes": right_end.nodes, "digest": digest(&right_end) },
            "only_left": removed, "only_right": added, "changed": changed, "sessions": sessions,
        });
        writeln!(out, "{total}")?;
    } else {
        let none = || "-".to_owned();
        let row = |name: &str, file: &Input, end: &SnapshotEnd, sessions: usize, only: u64| {
            let digest = digest(end).unwrap_or_else(none);
            vec![name.to_owned(), file.shown(), end.nodes.to_string(), sessions.to_string(), only.to_string(), digest]
        };
        let rows = vec![
            ["", "FILE", "ZNODES", "SESSIONS", "ONLY HERE", "DIGEST"].map(str::to_owned).to_vec(),
            row("left", &left, &left_end, left_sessions.len(), removed),
            row("right", &right, &right_end, right_sessions.len(), added),
        ];
        write!(out, "{}", text::table(&rows, &[false, false, true, true, true, true]))?;
        let same = if is_same { "; they are equal" } else { "" };
        writeln!(out, "{changed} znodes changed, {sessions} sessions differ{same}")?;
    }
    Ok(if is_same { Outcome::Good } else { Outcome::Bad })
}
