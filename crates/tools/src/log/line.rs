//! One txn as a line, for people and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use wire::txn::{Txn, TxnEntry};
use wire::{ErrorCode, OpCode, UStr};

use crate::filter::read_sub;
use crate::text::{self, escaped};

/// How many characters of a znode's data a line shows.
const DATA_SHOWN: usize = 60;

fn path(path: &UStr<'_>) -> String {
    path.as_deref().map_or_else(|| "null".to_owned(), escaped)
}

fn error(code: ErrorCode) -> String {
    code.name().map_or_else(|| code.0.to_string(), |name| format!("{name} ({})", code.0))
}

/// `2026-01-31T12:00:00.000Z  0x10000002a  0x100005f2d9d0000  17  setData  /a  version 3  "data"`
pub fn plain(entry: &TxnEntry<'_>) -> String {
    let header = &entry.header;
    format!(
        "{}  {:<18}  {:<18}  {:>6}  {:<15} {}",
        text::time(header.time_ms),
        header.zxid.to_string(),
        header.session.to_string(),
        header.cxid.0,
        header.op.name(),
        body(&entry.txn),
    )
}

/// The column heads of [`plain`].
pub fn heading() -> String {
    format!("{:<24}  {:<18}  {:<18}  {:>6}  {}", "TIME (UTC)", "ZXID", "SESSION", "CXID", "OPERATION")
}

fn body(txn: &Txn<'_>) -> String {
    let data = |data| text::data(data, DATA_SHOWN);
    match txn {
        Txn::Create(txn) => {
            let kind = if txn.ephemeral { "  ephemeral" } else { "" };
            format!("{}{kind}  {}", path(&txn.path), data(txn.data))
        }
        Txn::CreateTtl(txn) => format!("{}  ttl {} ms  {}", path(&txn.path), txn.ttl, data(txn.data)),
        Txn::CreateContainer(txn) => format!("{}  {}", path(&txn.path), data(txn.data)),
        Txn::Delete(txn) => path(&txn.path),
        Txn::SetData(txn) => format!("{}  version {}  {}", path(&txn.path), txn.version, data(txn.data)),
        Txn::SetAcl(txn) => format!("{}  aversion {}  {}", path(&txn.path), txn.version, text::acl(txn.acl)),
        // The txn has one more than what was asked for.
        Txn::Check(txn) => format!("{}  version {}", path(&txn.path), txn.version.wrapping_sub(1)),
        Txn::CreateSession(txn) => format!("timeout {} ms", txn.timeout_ms),
        Txn::CloseSession(None) => String::new(),
        Txn::CloseSession(Some(txn)) => {
            let mut out = String::new();
            for (i, gone) in txn.paths_to_delete.iter().flatten().enumerate() {
                let _ = write!(out, "{}{}", if i == 0 { "" } else { " " }, path(gone));
            }
            out
        }
        Txn::Error(txn) => error(txn.err),
        Txn::Multi(txn) => {
            let mut out = String::new();
            for (i, sub) in txn.txns.iter().flatten().enumerate() {
                let text = match read_sub(sub) {
                    Ok((op, txn)) => format!("{} {}", op.name(), body(&txn)),
                    Err(why) => format!("({why})"),
                };
                let _ = write!(out, "{}{}", if i == 0 { "" } else { "; " }, text.trim_end());
            }
            out
        }
    }
}

/// Everything that a txn holds.
pub fn json(file: &str, offset: u64, entry: &TxnEntry<'_>) -> Value {
    let header = &entry.header;
    let mut object = Map::new();
    object.insert("zxid".to_owned(), json!(header.zxid.to_string()));
    object.insert("time".to_owned(), json!(text::time(header.time_ms)));
    object.insert("time_ms".to_owned(), json!(header.time_ms));
    object.insert("session".to_owned(), json!(header.session.to_string()));
    object.insert("cxid".to_owned(), json!(header.cxid.0));
    object.insert("op".to_owned(), json!(header.op.name()));
    body_json(&entry.txn, &mut object);
    if let Some(digest) = entry.digest {
        object.insert("digest".to_owned(), json!({ "version": digest.version, "digest": digest.digest.to_string() }));
    }
    object.insert("file".to_owned(), json!(file));
    object.insert("offset".to_owned(), json!(offset));
    Value::Object(object)
}

fn body_json(txn: &Txn<'_>, into: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Value| into.insert(name.to_owned(), value);
    match txn {
        Txn::Create(txn) => {
            put("path", json!(txn.path));
            put("acl", json!(text::acl(txn.acl)));
            put("ephemeral", json!(txn.ephemeral));
            put("parent_cversion", json!(txn.parent_cversion));
            text::data_json(into, txn.data);
        }
        Txn::CreateTtl(txn) => {
            put("path", json!(txn.path));
            put("acl", json!(text::acl(txn.acl)));
            put("parent_cversion", json!(txn.parent_cversion));
            put("ttl_ms", json!(txn.ttl));
            text::data_json(into, txn.data);
        }
        Txn::CreateContainer(txn) => {
            put("path", json!(txn.path));
            put("acl", json!(text::acl(txn.acl)));
            put("parent_cversion", json!(txn.parent_cversion));
            text::data_json(into, txn.data);
        }
        Txn::Delete(txn) => {
            put("path", json!(txn.path));
        }
        Txn::SetData(txn) => {
            put("path", json!(txn.path));
            put("version", json!(txn.version));
            text::data_json(into, txn.data);
        }
        Txn::SetAcl(txn) => {
            put("path", json!(txn.path));
            put("aversion", json!(txn.version));
            put("acl", json!(text::acl(txn.acl)));
        }
        Txn::Check(txn) => {
            put("path", json!(txn.path));
            put("version", json!(txn.version.wrapping_sub(1)));
        }
        Txn::CreateSession(txn) => {
            put("timeout_ms", json!(txn.timeout_ms));
        }
        Txn::CloseSession(txn) => {
            let paths = txn.as_ref().and_then(|txn| txn.paths_to_delete.as_ref());
            put("deleted", json!(paths));
        }
        Txn::Error(txn) => {
            put("err", json!(txn.err.0));
            put("err_name", json!(txn.err.name()));
        }
        Txn::Multi(txn) => {
            let ops = txn.txns.iter().flatten().map(|sub| {
                let mut object = Map::new();
                match read_sub(sub) {
                    Ok((op, txn)) => {
                        object.insert("op".to_owned(), json!(op.name()));
                        body_json(&txn, &mut object);
                    }
                    Err(why) => {
                        object.insert("unreadable".to_owned(), json!(why));
                    }
                }
                Value::Object(object)
            });
            put("ops", ops.collect());
        }
    }
}

/// What a txn may be: those that change something, those of sessions, and what was refused.
const OPS: [OpCode; 13] = [
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::DeleteContainer,
    OpCode::SetData,
    OpCode::SetAcl,
    OpCode::Reconfig,
    OpCode::Multi,
    OpCode::CreateSession,
    OpCode::CloseSession,
    OpCode::Error,
];

/// The name that `--op` may have, as txns are printed.
pub fn op_of(name: &str) -> Option<&'static str> {
    OPS.iter().map(|op| op.name()).find(|op| op.eq_ignore_ascii_case(name))
}

/// All of them.
pub fn op_names() -> String {
    OPS.map(OpCode::name).join(", ")
}
