//! ZAB: quorum verifiers and broadcast.
