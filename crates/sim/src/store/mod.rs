//! The storage of one server in the virtual world: what it may never forget, and the proofs that it does not.
//!
//! | room | job |
//! |---|---|
//! | [`history`] | what was logged, and what a recovered state must be |
//! | [`life`] | the real machines, one effect at a time |
//! | [`check`] | what a crash leaves, recovered and judged |
//! | [`explore`] | every order of steps, every crash |
//! | [`scenarios`] | what is explored |
//! | [`random`] | random histories with everything that can go wrong |
//! | [`sabotage`] | syncs left out, to see that it is noticed |

pub mod check;
pub mod explore;
pub mod history;
pub mod life;
pub mod random;
pub mod sabotage;
pub mod scenarios;
pub mod tally;
