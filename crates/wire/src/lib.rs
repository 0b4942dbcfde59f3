//! Jute, frames, ids and every record of the ZooKeeper protocols.
