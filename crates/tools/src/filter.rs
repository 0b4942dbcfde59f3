//! Which txns are meant.

use clap::Args;
use wire::txn::{SubTxn, Txn, TxnEntry};
use wire::{OpCode, Zxid};

use crate::log::line::{op_names, op_of};
use crate::text::{parse_hex, parse_time};

/// Conditions that all have to hold.
#[derive(Debug, Clone, Default, Args)]
pub struct TxnFilter {
    /// Only txns that touch this znode, or one below it
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    pub path: Option<String>,
    /// With --path: the znode itself, not what is below it
    #[arg(long, requires = "path")]
    pub exact: bool,
    /// Only txns of this session
    #[arg(long, value_name = "ID", value_parser = parse_hex)]
    pub session: Option<i64>,
    /// Only from this time on: 2026-01-31T12:00:00Z, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<i64>,
    /// Only up to this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<i64>,
    /// Only from this zxid on
    #[arg(long, value_name = "ZXID", value_parser = parse_hex)]
    pub from: Option<i64>,
    /// Only up to this zxid
    #[arg(long, value_name = "ZXID", value_parser = parse_hex)]
    pub to: Option<i64>,
    /// Only txns of these kinds: create,delete,setData,setACL,multi,createSession,closeSession,error,…
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = parse_op)]
    pub op: Vec<String>,
}

/// Txns name znodes from the root on: another path would be met by none.
fn parse_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err(format!("a path begins with /: /{text}?")) }
}

fn parse_op(text: &str) -> Result<String, String> {
    op_of(text).map(str::to_owned).ok_or_else(|| format!("there are no such txns; there are {}", op_names()))
}

impl TxnFilter {
    /// Can a txn with this zxid be meant?
    pub fn takes_zxid(&self, zxid: Zxid) -> bool {
        self.from.is_none_or(|from| zxid.0 >= from) && self.to.is_none_or(|to| zxid.0 <= to)
    }

    /// Is this txn meant?
    pub fn takes(&self, entry: &TxnEntry<'_>) -> bool {
        let header = &entry.header;
        self.takes_zxid(header.zxid)
            && self.session.is_none_or(|session| header.session.0 == session)
            && self.since.is_none_or(|since| header.time_ms >= since)
            && self.until.is_none_or(|until| header.time_ms <= until)
            && (self.op.is_empty() || self.op.iter().any(|op| op.eq_ignore_ascii_case(header.op.name())))
            && self.path.as_deref().is_none_or(|path| touches(&entry.txn, &|found| self.is_meant(path, found)))
    }

    fn is_meant(&self, path: &str, found: &str) -> bool {
        is_at_or_below(path, found, self.exact)
    }
}

/// Is `found` the znode `path`, or, unless `exact`, below it?
pub fn is_at_or_below(path: &str, found: &str, exact: bool) -> bool {
    let path = if path == "/" { "" } else { path.trim_end_matches('/') };
    let found = if found == "/" { "" } else { found };
    found == path || (!exact && found.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
}

/// Does the txn name a path for which `is_meant` holds?
fn touches(txn: &Txn<'_>, is_meant: &dyn Fn(&str) -> bool) -> bool {
    let holds = |path: &wire::UStr<'_>| path.as_deref().is_some_and(is_meant);
    match txn {
        Txn::Create(txn) => holds(&txn.path),
        Txn::CreateTtl(txn) => holds(&txn.path),
        Txn::CreateContainer(txn) => holds(&txn.path),
        Txn::Delete(txn) => holds(&txn.path),
        Txn::SetData(txn) => holds(&txn.path),
        Txn::SetAcl(txn) => holds(&txn.path),
        Txn::Check(txn) => holds(&txn.path),
        Txn::CloseSession(txn) => txn.iter().flat_map(|txn| txn.paths_to_delete.iter().flatten()).any(holds),
        Txn::Multi(txn) => {
            txn.txns.iter().flatten().any(|sub| read_sub(sub).is_ok_and(|(_, txn)| touches(&txn, is_meant)))
        }
        Txn::CreateSession(_) | Txn::Error(_) => false,
    }
}

/// The operation in a multi.
pub fn read_sub<'a>(sub: &SubTxn<'a>) -> Result<(OpCode, Txn<'a>), String> {
    let op = OpCode::from_code(sub.kind).ok_or_else(|| format!("a txn of type {}", sub.kind))?;
    let mut reader = wire::Reader::with_limit(sub.data.unwrap_or_default(), usize::MAX);
    Txn::read_body(op, true, &mut reader).map(|txn| (op, txn)).map_err(|e| e.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        filter: TxnFilter,
    }

    #[test]
    fn what_can_meet_no_txn_is_refused_with_what_can() {
        let parse = |line: &str| Line::try_parse_from(std::iter::once("x").chain(line.split(' ')));
        assert_eq!(parse("--op CREATE,setdata,error").unwrap().filter.op, ["create", "setData", "error"]);
        assert_eq!(parse("--path /a --exact").unwrap().filter.path.as_deref(), Some("/a"));
        let error = parse("--op create,getData").unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::ValueValidation, 2));
        let text = error.to_string();
        assert!(text.contains("'getData'"), "{text}");
        for name in ["create2", "createTTL", "deleteContainer", "setACL", "multi", "closeSession", "error"] {
            assert!(text.contains(name), "{name}: {text}");
        }
        let error = parse("--path a/b").unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::ValueValidation, 2));
        assert!(error.to_string().contains("a path begins with /: /a/b?"), "{error}");
        // Of nothing that might be meant.
        assert_eq!(parse("--op ").unwrap_err().kind(), ErrorKind::ValueValidation);
    }

    #[test]
    fn paths() {
        assert!(is_at_or_below("/a", "/a", false) && is_at_or_below("/a", "/a/b", false));
        assert!(is_at_or_below("/a/", "/a/b", false) && is_at_or_below("/", "/x", false));
        assert!(!is_at_or_below("/a", "/ab", false) && !is_at_or_below("/a/b", "/a", false));
        assert!(is_at_or_below("/", "/", true) && !is_at_or_below("/a", "/a/b", true));
    }
}
