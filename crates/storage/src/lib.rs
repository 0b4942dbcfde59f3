//! Txn log, snapshots and recovery, byte for byte as Apache ZooKeeper keeps them.
