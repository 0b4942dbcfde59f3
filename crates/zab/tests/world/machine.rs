//! What runs on a server of a world: a member alone, whose elections the world makes, or a whole [`Ensemble`].

use ostler_zab::member::Input;
use ostler_zab::{ConnId, Ensemble, Leader, Member, Options, Recovered, State, ToLearner, election, ensemble};
use wire::Zxid;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Machine {
    Member(Box<Member>),
    Ensemble(Box<Ensemble>),
}

impl Machine {
    pub fn new(now_ms: u64, elects: bool, options: Options, recovered: Recovered) -> Self {
        if !elects {
            return Self::Member(Box::new(Member::new(options, recovered)));
        }
        let settings = election::Settings::new(options.me);
        Self::Ensemble(Box::new(Ensemble::new(now_ms, options, settings, recovered)))
    }

    pub fn handle(&mut self, now_ms: u64, input: Input) {
        match self {
            Self::Member(it) => it.handle(now_ms, input),
            Self::Ensemble(it) if input == Input::Timer => it.handle(now_ms, ensemble::Input::Timer),
            Self::Ensemble(it) => it.handle(now_ms, ensemble::Input::Member(input)),
        }
    }

    pub fn next_output(&mut self) -> Option<ensemble::Output> {
        match self {
            Self::Member(it) => it.next_output().map(ensemble::Output::Member),
            Self::Ensemble(it) => it.next_output(),
        }
    }

    pub fn next_timeout(&self) -> Option<u64> {
        match self {
            Self::Member(it) => it.next_timeout(),
            Self::Ensemble(it) => it.next_timeout(),
        }
    }

    pub fn next_packet(&mut self, now_ms: u64, conn: ConnId) -> Option<ToLearner> {
        match self {
            Self::Member(it) => it.next_packet(now_ms, conn),
            Self::Ensemble(it) => it.next_packet(now_ms, conn),
        }
    }

    pub fn next_zxid(&mut self, now_ms: u64) -> Option<Zxid> {
        match self {
            Self::Member(it) => it.next_zxid(now_ms),
            Self::Ensemble(it) => it.next_zxid(now_ms),
        }
    }

    pub fn member(&self) -> &Member {
        match self {
            Self::Member(it) => it,
            Self::Ensemble(it) => it.member(),
        }
    }

    pub fn as_leader(&self) -> Option<&Leader> {
        self.member().as_leader()
    }

    pub fn state(&self) -> State {
        self.member().state()
    }
}
