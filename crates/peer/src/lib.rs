//! One whole server as state machines: a pipeline, and shards around it.
//!
//! # Run loop
//! * A [`Shard`] is given the bytes of its connections ([`Shard::receive`]), answers reads itself, and collects what
//!   must go through the pipeline ([`Shard::take_submissions`]). When it is woken it drains its inbox
//!   ([`Shard::drain`]). After either, its driver writes out what [`Shard::take_dirty`] names.
//! * The [`Pipeline`] is given submissions ([`Pipeline::process`]); what it proposes is handed to the log
//!   ([`Pipeline::take_unlogged`]); when the log says that a zxid is durable ([`Pipeline::logged`]), it commits, applies
//!   and fills the inboxes. Both return the shards to wake.
//! * Between the two lies [`Shared`]: the tree under its lock, and the inboxes.
//!
//! Nothing here reads a clock ([`Now`] is an argument), draws a random number, starts a thread or touches a file.
//!
//! # Invariants
//! * A reply to a write leaves only after its txn was logged, committed and applied here.
//! * Replies of one connection leave in the order of its requests; auth replies alone may overtake.
//! * An event is in a shard's inbox before the state that it tells of can be read; a shard that reads drains its inbox
//!   under the same guard first. So a connection hears of a change before it can see it.
//! * A session ends only through a committed closeSession.

mod ahead;
pub mod answers;
pub mod connection;
mod count_ahead;
pub mod digest_check;
mod held_back;
pub mod inbox;
mod lived;
mod long_read;
pub mod orphans;
mod outstanding;
mod pending;
pub mod pipeline;
mod pipeline_apply;
mod pipeline_leading;
mod pipeline_learning;
pub mod pipeline_roles;
pub mod pipeline_sessions;
mod prep;
mod queues;
pub mod quota;
mod read_only;
mod reads;
mod reconfig;
pub mod room;
pub mod session;
pub mod session_tracker;
mod set_watches;
pub mod shard;
mod shard_inbox;
mod shard_limits;
mod shard_long;
mod shard_receive;
mod shard_session;
pub mod shared;
mod state;
pub mod stats;
pub mod sweep;
mod tally;
mod telling;
pub mod throttle;
pub mod time;
mod travel;
mod unanswered;
mod unprocessed;
mod watch_bound;

pub use ahead::LogAhead;
pub use digest_check::{Mismatch, Verdict};
pub use inbox::{ConnId, Granted, InboxEntry, ReadRequest, ReplyBody, Submission, WriteRequest};
pub use long_read::StepLimits;
pub use orphans::Orphans;
pub use pipeline::{Pipeline, PipelineConfig};
pub use pipeline_roles::Wish;
pub use pipeline_sessions::LocalSessions;
#[cfg(feature = "seeded-defects")]
pub use read_only::ReadOnlyDefect;
pub use reconfig::Members;
pub use room::LogRoom;
pub use shard::{Shard, ShardConfig};
pub use shared::{ShardSet, Shared};
pub use sweep::ContainerRules;
pub use time::Now;
