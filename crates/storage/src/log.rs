//! The txn log: what a record is, reading it, choosing the files, writing it.
//!
//! Source: Apache `FileTxnLog`, `FilePadding`, `TxnLogToolkit`; `docs/formats/txn-log.md`.

pub mod dir;
pub mod error;
pub mod fill;
pub mod reader;
pub mod record;
pub mod room;
pub mod stall;
mod sums;
pub mod tail;
pub mod truncate;
pub mod writer;
