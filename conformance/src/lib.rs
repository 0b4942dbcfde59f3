//! Ostler against Apache ZooKeeper: servers, clients, data directories.
