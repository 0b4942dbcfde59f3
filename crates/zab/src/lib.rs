//! ZAB: how a history of txns comes to be the same everywhere. It never sees a znode.
//!
//! Here so far: who makes a quorum ([`quorum_verifier`]), and the broadcast phase of a leader ([`broadcast`]). A
//! standalone server is the leader of an ensemble of one and takes exactly this path.

pub mod broadcast;
pub mod quorum_verifier;

pub use broadcast::Broadcast;
pub use quorum_verifier::QuorumVerifier;
