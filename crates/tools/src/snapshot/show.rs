//! `ostler snapshot show`, `find` and `export`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, json};
use storage::snapshot::decode::SnapshotVisitor;
use wire::jute::Buffer;
use wire::{AclVec, SessionId, StatPersisted};

use super::NodeFilter;
use super::read::{client_path, read_printing};
use crate::filter::is_at_or_below;
use crate::{Outcome, input, text};

/// How many characters of a znode's data a line shows.
const DATA_SHOWN: usize = 60;
/// The owner of a container (`EphemeralType.CONTAINER_EPHEMERAL_OWNER`).
const CONTAINER: i64 = i64::MIN;

impl NodeFilter {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.session.is_none() && self.since.is_none() && self.until.is_none()
    }

    fn takes(&self, path: &str, stat: &StatPersisted) -> bool {
        let is_in_time =
            |ms: i64| self.since.is_none_or(|since| ms >= since) && self.until.is_none_or(|until| ms <= until);
        self.path.as_deref().is_none_or(|wanted| is_at_or_below(wanted, path, self.exact))
            && self.session.is_none_or(|session| stat.ephemeral_owner == session)
            && (is_in_time(stat.mtime) || is_in_time(stat.ctime))
    }
}

struct Printer<'a> {
    out: &'a mut dyn Write,
    filter: &'a NodeFilter,
    as_json: bool,
    acls: BTreeMap<i64, String>,
    shown: u64,
    /// The first error of `out`; the visitor can't give it.
    failed: Option<std::io::Error>,
}

impl Printer<'_> {
    fn print(&mut self, line: std::fmt::Arguments<'_>) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{line}").err();
        }
    }
}

impl SnapshotVisitor for Printer<'_> {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        let is_meant = match self.filter.session {
            Some(wanted) => session.0 == wanted,
            None => self.filter.is_empty(),
        };
        if is_meant && self.as_json {
            let object = json!({ "session": session.to_string(), "timeout_ms": timeout_ms });
            self.print(format_args!("{object}"));
        } else if is_meant {
            self.print(format_args!("session {session}  timeout {timeout_ms} ms"));
        }
    }

    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        let shown = text::acl(acl);
        if self.as_json && self.filter.is_empty() {
            self.print(format_args!("{}", json!({ "acl_id": id, "acl": &shown })));
        }
        self.acls.insert(id, shown);
    }

    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        let path = client_path(path);
        if self.failed.is_some() {
            return Err("standard output".to_owned());
        }
        if !self.filter.takes(path, stat) {
            return Ok(());
        }
        self.shown += 1;
        let open = "world:anyone:cdrwa";
        let acl = if acl_id == -1 { open } else { self.acls.get(&acl_id).map_or("?", String::as_str) };
        if self.as_json {
            let mut object = Map::new();
            let mut put = |name: &str, value| object.insert(name.to_owned(), value);
            put("path", json!(path));
            put("acl", json!(acl));
            put("czxid", json!(stat.czxid.to_string()));
            put("mzxid", json!(stat.mzxid.to_string()));
            put("pzxid", json!(stat.pzxid.to_string()));
            put("ctime_ms", json!(stat.ctime));
            put("mtime_ms", json!(stat.mtime));
            put("version", json!(stat.version));
            put("cversion", json!(stat.cversion));
            put("aversion", json!(stat.aversion));
            put("ephemeral_owner", json!(SessionId(stat.ephemeral_owner).to_string()));
            text::data_json(&mut object, data);
            let object = serde_json::Value::Object(object);
            self.print(format_args!("{object}"));
            return Ok(());
        }
        let owner = match stat.ephemeral_owner {
            0 => String::new(),
            CONTAINER => "  container".to_owned(),
            owner if owner as u64 >> 56 == 0xff => format!("  ttl {} ms", owner & 0xff_ffff_ffff),
            owner => format!("  owner {}", SessionId(owner)),
        };
        let (mtime, shown) = (text::time(stat.mtime), text::data(data, DATA_SHOWN));
        let acl = if acl == open { String::new() } else { format!("  acl {acl}") };
        let path = text::escaped(path);
        let (mzxid, version) = (stat.mzxid, stat.version);
        self.print(format_args!("{path}  mzxid {mzxid}  {mtime}  version {version}{owner}{acl}  {shown}"));
        Ok(())
    }
}

/// Prints what `filter` takes.
pub fn run(path: &Path, filter: &NodeFilter, as_json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let file = input::snapshot(path)?;
    let mut printer = Printer { out, filter, as_json, acls: BTreeMap::new(), shown: 0, failed: None };
    let done = read_printing(&file, &mut printer)?;
    let (shown, failed) = (printer.shown, printer.failed);
    if let Some(error) = failed {
        return Err(error.into());
    }
    match done {
        Ok(end) => {
            if !as_json {
                writeln!(out, "{shown} of {} znodes, {}", end.nodes, file.shown())?;
            }
            Ok(Outcome::Good)
        }
        Err(error) => {
            out.flush()?;
            bail!(anyhow!("{error}").context(format!("{} is damaged; what was printed may be wrong", file.shown())))
        }
    }
}
