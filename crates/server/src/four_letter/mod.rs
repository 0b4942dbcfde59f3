//! Four-letter words: four bytes in, a text out, and the connection closes.
//!
//! Everything here is pure: a driver recognises the word with [`Word::from_bytes`], asks the [`Whitelist`], fills one
//! of the plain input structs from the running server, and writes the text. The texts are those of Apache 3.9.5 line
//! by line, because monitors parse them with regular expressions; what those regular expressions read is held by tests.
//!
//! | word | function | when not serving |
//! |---|---|---|
//! | `ruok` | [`RUOK`] | the same |
//! | `isro` | [`isro`] | `null` |
//! | `srvr`, `stat` | [`srvr`], [`stat_head`], [`stat_tail`] | [`NOT_SERVING`] |
//! | `mntr` | [`mntr`] | [`NOT_SERVING`] |
//! | `conf`, `dirs`, `wchs`, `hash` | of the same name | [`NOT_SERVING`] |
//! | `cons`, `dump`, `wchc`, `wchp` | a line at a time, since they may be long | [`NOT_SERVING`] |
//! | `envi` | [`envi`] | the same |
//! | `elec`, which Apache has not | the member's | the same |
//! | `crst`, `srst` | [`CRST`], [`SRST`]: the driver resets first | [`NOT_SERVING`] |
//! | `gtmk`, `stmk` | [`trace_mask`] | the same |
//! | what telnet sends to close | nothing | the same |

mod connections;
mod java_text;
mod metric_names;
mod mntr;
mod server;
mod sessions;
mod watches;
mod word;

pub use connections::{CONNECTIONS_END, ConnectionStats, SessionOfConnection, operation_letters};
pub use java_text::{ZoneMoment, average, java_date, java_double, socket_address};
pub use mntr::{DiskGauges, EnsembleGauges, Gauges, LeaderGauges, Metrics, Summary, SyncGauges, mntr};
pub use server::{
    ConfStats, MemberStats, Mode, ProposalSizes, ServerStats, conf, dirs, envi, hash, isro, srvr, stat_head, stat_tail,
    version_text,
};
pub use sessions::{Set, connection_line, ephemeral_line, ephemerals_head, session_line, sets_head};
pub use watches::{WatchSummary, connection_of_watches, path_of_watches, wchs};
pub use word::{Whitelist, Word};

/// The answer to `ruok`, without a line end; also while the server does not serve.
pub const RUOK: &str = "imok";

/// The answer to most words while the server does not serve.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The answer to `crst`, after the counters of all connections were reset.
pub const CRST: &str = "Connection stats reset.\n";

/// The answer to `srst`, after latencies and counters of the server were reset.
pub const SRST: &str = "Server stats reset.\n";

/// The trace mask with which Apache starts. Nothing is traced by it here; it is kept so that `stmk` and `gtmk` answer.
pub const TRACE_MASK_DEFAULT: i64 = 306;

/// The answer to `gtmk` and `stmk`: the mask in decimal, without a line end.
pub fn trace_mask(mask: i64) -> String {
    mask.to_string()
}
