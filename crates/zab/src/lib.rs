//! ZAB: how a history of txns comes to be the same everywhere. It never sees a znode.
//!
//! | room | job |
//! |---|---|
//! | [`ensemble`] | a server of an ensemble: member, election and connections as one machine |
//! | [`member`] | the roles of a server, one after another, over the same history and the same disk |
//! | [`election`] | who leads |
//! | [`connections`] | which connection to a peer lives |
//! | [`leader`], [`learner`] | discovery, synchronization and broadcast, one machine a role |
//! | [`mod@sync_plan`] | DIFF, TRUNC or SNAP: how a learner is brought to the leader's history |
//! | [`committed_log`] | the newest part of a history, in memory |
//! | [`durable`] | what is on the disk, as types: no ACK without it |
//! | [`broadcast`] | zxids out, acks in, a commit point that only rises |
//! | [`quorum_verifier`] | who makes a quorum |
//! | [`reconfig`] | how a configuration follows another one |
//! | [`options`] | limits and bounds |
//! | [`queues`] | how full the queues are, for who looks at their bounds |
//!
//! The machines do no IO: packets, completions of the disk and the time go in, packets and commands for the disk come
//! out. A standalone server is the leader of an ensemble of one and takes [`broadcast`]'s path alone.

pub mod broadcast;
pub mod committed_log;
pub mod connections;
pub mod durable;
pub mod election;
pub mod ensemble;
pub mod leader;
pub mod learner;
pub mod member;
pub mod options;
pub mod queues;
pub mod quorum_verifier;
pub mod reconfig;
pub mod state_summary;
pub mod sync_plan;

pub use broadcast::Broadcast;
pub use committed_log::{CommittedLog, CommittedLogLimits, Proposal};
pub use connections::Connections;
pub use durable::{Command, Done, FromLearner, Logged, Token};
pub use election::Election;
pub use ensemble::Ensemble;
pub use leader::{ConnId, Leader, LeaderOver, Start, ToLearner};
pub use learner::{Learner, LearnerOver};
pub use member::{Member, Recovered, RoleId, RoleOver, State};
pub use options::{Defect, Options};
pub use queues::Queue;
pub use quorum_verifier::{QuorumVerifier, Quorums};
pub use state_summary::StateSummary;
pub use sync_plan::{LogPart, SyncPlan};
