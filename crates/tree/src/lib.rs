//! Znodes, ACLs, ephemerals and watches: apply, read, digest, snapshot cuts.
