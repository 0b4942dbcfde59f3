//! Authentication schemes and the ACL check.
