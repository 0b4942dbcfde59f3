//! One whole server as state machines: requests, prep, commit, sessions, replies.
