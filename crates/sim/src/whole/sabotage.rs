//! Lies that a world tells its servers or clients, each of which a checker has to see.

/// A lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// Syncs do nothing, and say that they did.
    SyncsLie,
    /// A server takes what a client sends in the wrong order.
    RequestsOvertake,
    /// A client forgets what it has seen when it goes to another server.
    ForgetsSeen,
    /// What a client sends as a sync is none.
    SyncsAreReads,
    /// A client hears an event, and forgets it.
    LosesEvents,
    /// A client hears each event twice.
    RepeatsEvents,
    /// A client that comes back says that it has seen everything.
    SetsWatchesLate,
    /// A client comes back with a wrong password.
    WrongPassword,
    /// A client takes a multi that failed for one that worked.
    MultisNeverFail,
    /// Leaders never look whether a session has run out of time.
    SessionsNeverEnd,
    /// Leaders end sessions some ticks before they have run out of time.
    SessionsEndEarly,
    /// Clients say that they can do with a server without a leader, and can't.
    AllTakeOld,
    /// A server without a leader acknowledges writes. Only in builds with deliberate defects.
    ReadersWrite,
    /// A server that has found a leader goes on to serve those who only read. Only in builds with deliberate defects.
    ReadersStay,
    /// A client takes what a server without a leader shows for the state behind it.
    OldAnswersRunAhead,
    /// A client misreads what a server without a leader shows.
    OldAnswersAreWrong,
    /// A snapshot on its way to a learner loses a bit.
    SnapshotsLoseBits,
    /// What was under way when a leader went is handed to the next one, whatever became of it. Only in builds with deliberate
    /// defects.
    DoesTwice,
}

impl Sabotage {
    /// All but none, and the checkers that may see each first.
    pub const ALL: &[(Self, &[&str])] = &[
        (Self::SyncsLie, &["recovery", "committed is never lost", "agreement"]),
        (Self::RequestsOvertake, &["session order", "answers"]),
        (Self::ForgetsSeen, &["reads", "watches"]),
        (Self::SyncsAreReads, &["sync"]),
        (Self::LosesEvents, &["watches"]),
        (Self::RepeatsEvents, &["watches"]),
        (Self::SetsWatchesLate, &["watches"]),
        (Self::WrongPassword, &["sessions"]),
        (Self::MultisNeverFail, &["writes"]),
        (Self::SessionsNeverEnd, &["lifetimes"]),
        (Self::SessionsEndEarly, &["lifetimes"]),
        (Self::AllTakeOld, &["read-only mode"]),
        (Self::ReadersWrite, &["read-only mode"]),
        (Self::ReadersStay, &["old reads", "read-only mode"]),
        (Self::OldAnswersRunAhead, &["old reads"]),
        (Self::OldAnswersAreWrong, &["old reads"]),
        (Self::DoesTwice, &["session order"]),
        (Self::SnapshotsLoseBits, &["equal trees", "recovery", "reads"]),
    ];
}
