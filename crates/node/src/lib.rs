//! A whole server that decides and does nothing: consensus ([`zab::Ensemble`]), requests ([`peer::Pipeline`]) and the log
//! ([`storage::LogWriter`]) as one machine, [`Node`]. The `server` drives it with sockets, files and threads, the simulator
//! with virtual ones; shards stand beside it and share [`peer::Shared`] with it.
//!
//! # How to drive one
//!
//! Make the tree and the epochs ([`storage::recover()`] into a [`Rebuild`], [`storage::epoch::read`]), put the tree into a
//! [`peer::Shared`] (`is_member` set for a member of an ensemble), make a [`peer::Pipeline`], and then [`Node::standalone`] or
//! [`Node::member`]. From then on, each under one owner at a time:
//!
//! * **Clients.** What shards submit goes to [`Node::process`]. [`Node::tick`] is called each tick, or twice.
//! * **The log.** While [`Node::next_log_job`] gives one, execute its effects and say [`Node::log_done`] (or `log_stopped`,
//!   `log_failed`, as with the log's writer itself). [`Node::next_fill`] and [`Node::fill_done`] likewise, for a thread that has
//!   time; a fill that was given out *must* be reported, since a change of the history waits for it.
//! * **Snapshots.** [`Node::next_snapshot`] gives the header of a cut to be written; [`Node::snapshot_done`] must be said for
//!   each, also if it was given up or failed.
//! * **Consensus** (members only). Events of the two ports go to [`Node::handle`] as [`Input::Ensemble`]; when it is
//!   [`Node::next_timeout_ms`], [`zab::ensemble::Input::Timer`]. What comes is [`Output::Ensemble`]:
//!   - `Connections(..)`: the election port's, as [`zab::connections`] tells.
//!   - `Follow { role, leader, master }`: connect to that server's quorum port (or, if there is a `master`, to that one's port
//!     for observers), then hand in `Learner(role, Connected)`, a
//!     `Learner(role, Packet(..))` for each packet, `Learner(role, Disconnected)` at its end. `Learner(Send(..))` is to be
//!     sent; the packets of one role go into its one connection. On `Learner(ReceiveSnapshot(zxid))` the raw snapshot
//!     follows in the stream: feed it to a [`storage::snapshot::install::SnapshotReceiver`], execute its effects, say
//!     `Learner(role, SnapshotProgress)` now and then and `Learner(role, SnapshotReceived(whole))` at the end; no other packet
//!     of that connection may be handed in before.
//!   - `Lead { role }`: accept learners; `Leader(role, Connected(conn))`, `Packet`, `Disconnected`. On `Leader(Ready(conn))`
//!     take [`Node::next_packet`] until it gives nothing, as fast as the socket takes it; `Leader(Close(conn, why))`: close it.
//!   - `Learner(ServeObservers)`: accept learners at the port for observers; what is said of learners above holds for them, with
//!     the follower's role.
//!   - `Over(role, why)`: close that role's connections.
//!   - All other outputs of [`zab::member`] never come out: the node does them. What is meant above as `Follow`, `Learner(..)`
//!     and so on is [`zab::ensemble::Output::Member`] of these, and inputs likewise.
//! * **Tasks.** [`Output::Task`]: run [`Task::run`] with a disk, on any thread but not on one that must be quick, and hand the
//!   result in with [`Input::Task`]. Its error, and [`Output::Fatal`], end the process.
//!
//! After **every** call drain [`Node::next_output`], look at `next_log_job` (if the disk is idle), wake the shards of the returned
//! [`peer::ShardSet`], and ask for the timeout again.
//!
//! Standalone, a node is the pipeline and the log and nothing between them: no output but jobs.

mod log_part;
mod node;
mod rebuild;
mod snapshots;
mod task;

pub use log_part::read_log;
pub use node::{Input, MemberConfig, Node, NodeConfig, Output};
pub use rebuild::Rebuild;
pub use task::{SNAPSHOT_SIZE_FACTOR, Task, TaskDone, TaskError, TaskOptions};
