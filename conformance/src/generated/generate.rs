//! Scripts that nobody thought of: pseudo-random, the same for a seed for ever.
//!
//! What the two servers answer otherwise on purpose is left out; it stands in `tests/conversation/deviations.rs`.
//!
//! Where quotas are, there are barriers (`barrier`): a burst is cut in two where its answers would depend on how far
//! a server has come with applying it.

use super::barrier::Barrier;
use super::step::{ACLS, Request, Step, What};

const CLIENTS: [char; 5] = ['a', 'b', 'c', 'd', 'e'];
const NAMES: [&str; 4] = ["x", "y", "z-", "\u{e9}"];

/// The paths that quotas are for; few in each script, so that not all of its bursts need barriers.
const LIMITED: [&str; 8] = ["/r", "/r/x", "/r/x", "/r/y", "/r/\u{e9}", "/r/x/y", "/r/x/x/x", "/r/none/none"];

/// What a script may ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// Limits and usage under `/zookeeper/quota`, in two of three scripts. The servers must enforce them.
    pub quotas: bool,
}

/// A generator that gives the same for a seed, for ever.
struct Random {
    state: u64,
    /// What quotas are for.
    limited: Vec<&'static str>,
    barrier: Barrier,
}

/// A script of `turns` turns.
pub fn script(seed: u64, turns: usize, features: Features) -> Vec<Step> {
    let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = Random { state, limited: Vec::new(), barrier: Barrier::default() };
    if features.quotas && !seed.is_multiple_of(3) {
        random.limited = (0..=random.below(4)).map(|_| random.pick(&LIMITED)).collect();
    }
    let mut steps = Vec::new();
    let mut turn = |client: char, what: What| steps.push(Step { client, what });
    for client in &CLIENTS[..3 + random.below(3) as usize] {
        turn(*client, What::Connect);
    }
    turn('a', What::Ask(vec![Request::new(&["auth", "digest", "=a:a"])]));
    turn('b', What::Ask(vec![Request::new(&["auth", "digest", "=b:e"])]));
    turn('c', What::Ask(vec![Request::new(&["create", "/r", "null", "open", "0"])]));
    for _ in 0..turns {
        let client = random.pick(&CLIENTS);
        match random.below(60) {
            0 => turn(client, What::Drop),
            1 | 2 => {
                turn(client, What::Resume);
                if random.below(2) == 0 {
                    turn(client, What::Ask(vec![Request::new(&["rewatch"])]));
                }
            }
            3 => {
                turn(client, What::Drop);
                let other = random.pick(&CLIENTS);
                random.burst(6).into_iter().for_each(|part| turn(other, What::Ask(part)));
                turn(client, What::Resume);
                turn(client, What::Ask(vec![Request::new(&["rewatch"])]));
            }
            4 => {
                let what = random.pick(&[What::ResumeWrong, What::ResumeAhead].each_ref()).clone();
                turn(client, what);
                turn(client, What::Resume);
            }
            5 => {
                turn(client, What::Close);
                turn(client, What::Connect);
            }
            6 if random.below(5) == 0 => {
                let what = random.pick(&[What::Expire, What::ExpireAway].each_ref()).clone();
                turn(client, what);
                turn(client, What::Resume);
                turn(client, What::Connect);
            }
            7 => turn(client, What::Ask(vec![random.identity()])),
            8 if random.below(4) == 0 => {
                let op = random.pick(&["0", "10", "13", "999"]);
                turn(client, What::Ask(vec![Request::new(&["op", op])]));
                turn(client, What::Resume);
            }
            9..=24 => random.burst(30).into_iter().for_each(|part| turn(client, What::Ask(part))),
            25..=28 if !random.limited.is_empty() => {
                random.quota().into_iter().for_each(|part| turn(client, What::Ask(part)));
            }
            _ => {
                let request = random.request();
                random.parts(vec![request]).into_iter().for_each(|part| turn(client, What::Ask(part)));
            }
        }
    }
    steps
}

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn path(&mut self) -> String {
        if !self.limited.is_empty() && self.below(3) == 0 {
            // Where limits are, close below.
            let of = self.pick(&self.limited.clone());
            return (0..self.below(2)).fold(of.to_owned(), |path, _| path + "/" + self.pick(&NAMES));
        }
        match self.below(60) {
            0 => "/".to_owned(),
            1 => "/zookeeper".to_owned(),
            2 => "/r".to_owned(),
            3 => "/r/".to_owned(),
            4 => self
                .pick(&["/zookeeper/quota", "/zookeeper/config", "r", "/r//x", "/r/./x", "/zookeeper/none"])
                .to_owned(),
            5..=8 => format!("/r/z-000000000{}", self.below(10)),
            _ => (0..=self.below(3)).fold("/r".to_owned(), |path, _| path + "/" + self.pick(&NAMES)),
        }
    }

    fn data(&mut self) -> String {
        match self.below(6) {
            0 => "null".to_owned(),
            1 => "0".to_owned(),
            length => (length * 7).to_string(),
        }
    }

    fn version(&mut self) -> &'static str {
        self.pick(&["-1", "-1", "-1", "0", "1", "2", "-2"])
    }

    fn acl(&mut self) -> &'static str {
        if self.below(2) == 0 { "open" } else { self.pick(ACLS).0 }
    }

    fn create(&mut self) -> Request {
        let (path, data, acl) = (self.path(), self.data(), self.acl());
        match self.below(10) {
            0 | 1 => Request::new(&["container", &path, &data, acl, "4"]),
            2 => {
                let mode = self.pick(&["5", "5", "6", "6", "0", "1"]);
                let ttl = self.pick(&["1000000", "1099511627775", "1099511627776", "0"]);
                Request::new(&["ttl", &path, &data, acl, mode, ttl])
            }
            at => {
                let word = if at < 6 { "create" } else { "create2" };
                let mode = self.pick(&["0", "0", "0", "0", "0", "1", "1", "2", "3", "4", "5", "7"]);
                Request::new(&[word, &path, &data, acl, mode])
            }
        }
    }

    fn write(&mut self) -> Request {
        match self.below(10) {
            0..=4 => self.create(),
            5 | 6 => Request::new(&["delete", &self.path(), self.version()]),
            7 => Request::new(&["check", &self.path(), self.version()]),
            _ => Request::new(&["set", &self.path(), &self.data(), self.version()]),
        }
    }

    /// As `setquota` of Apache's shell, or a part of it.
    fn quota(&mut self) -> Vec<Vec<Request>> {
        let mut requests = Vec::new();
        let of = self.pick(&self.limited.clone());
        let directories: Vec<&str> = of.match_indices('/').skip(1).map(|(at, _)| &of[..at]).chain([of]).collect();
        for directory in &directories {
            requests.push(Request::new(&["create", &format!("/zookeeper/quota{directory}"), "null", "open", "0"]));
        }
        // Something to charge: limits of what is not there refuse nothing.
        if self.below(2) == 0 {
            let made: Vec<Request> =
                directories.iter().map(|it| Request::new(&["create", it, "2", "open", "0"])).collect();
            requests.splice(0..0, made);
        }
        let (limits, stats) = (self.limits_of(of), self.stats_of(of));
        match self.below(6) {
            // Usage first, limits first, limits without usage.
            0 => requests.extend([stats, limits]),
            1 => requests.push(limits),
            _ => requests.extend([limits, stats]),
        }
        self.parts(requests)
    }

    fn limits_of(&mut self, of: &str) -> Request {
        let text = self.limits();
        Request::new(&["create", &format!("/zookeeper/quota{of}/zookeeper_limits"), &text, "open", "0"])
    }

    fn stats_of(&mut self, of: &str) -> Request {
        let text = self.pick(&["=count=0,bytes=0", "null", "3"]);
        Request::new(&["create", &format!("/zookeeper/quota{of}/zookeeper_stats"), text, "open", "0"])
    }

    /// The text of limits: soft, hard, or both; some that are reached soon, some that are not. Each says a number: limits
    /// without data, or with data that are none, end Apache's server when they are charged, and so do those of the root.
    fn limits(&mut self) -> String {
        let tight = self.below(4) > 0;
        let mut number = |most: u64| match self.below(8) {
            0 => -1,
            _ => i64::try_from(self.below(if tight { most } else { most * 6 })).unwrap_or(-1),
        };
        let (count, bytes, count_hard, bytes_hard) = (number(5), number(60), number(6), number(80));
        match self.below(6) {
            0 => format!("=count={count},bytes={bytes}"),
            1 => format!("=countHardLimit={count_hard}"),
            2 => format!("=byteHardLimit={bytes_hard}"),
            3 => format!("=count=-1,bytes=-1=;byteHardLimit={bytes_hard};countHardLimit={count_hard}"),
            4 => format!("=count={count},bytes=-1=;countHardLimit={count_hard}"),
            _ => format!("=count={count},bytes={bytes}=;byteHardLimit={bytes_hard};countHardLimit={count_hard}"),
        }
    }

    /// A write of a quota's znodes. No ephemerals: a session that ends takes its own in no particular order, so that a
    /// usage would miss some of them or not.
    fn quota_write(&mut self) -> Request {
        let of = self.pick(&self.limited.clone());
        let [directory, limits, stats] =
            ["", "/zookeeper_limits", "/zookeeper_stats"].map(|name| format!("/zookeeper/quota{of}{name}"));
        match self.below(9) {
            0 => Request::new(&["create", &directory, "null", "open", "0"]),
            1 => self.limits_of(of),
            2 => self.stats_of(of),
            3 | 4 => {
                let text = self.limits();
                Request::new(&["set", &limits, &text, self.version()])
            }
            5 => Request::new(&["delete", &limits, self.version()]),
            6 => Request::new(&["delete", &stats, self.version()]),
            7 => Request::new(&["delete", &directory, "-1"]),
            // Any text that is a usage: what is none ends Apache's server.
            _ => {
                let text = self.pick(&["=count=1,bytes=2", "=count=-9,bytes=0=;zeta=1;Alpha=2", "=bytes=7"]);
                Request::new(&["set", &stats, text, self.version()])
            }
        }
    }

    fn quota_read(&mut self) -> Request {
        let of = self.pick(&self.limited.clone());
        let path = format!("/zookeeper/quota{of}{}", self.pick(&["", "/zookeeper_limits", "/zookeeper_stats"]));
        match self.below(6) {
            0 => Request::new(&["acl", &path]),
            1 => Request::new(&["add-watch", &path, self.pick(&["0", "1"])]),
            2 | 3 => Request::new(&[self.pick(&["get", "exists", "children2"]), &path, "watch"]),
            _ => Request::new(&["get", &path]),
        }
    }

    fn read(&mut self, words: &[&str]) -> Request {
        let mut request = Request::new(&[self.pick(words), &self.path()]);
        if self.below(2) == 0 {
            request.words.push("watch".to_owned());
        }
        request
    }

    fn identity(&mut self) -> Request {
        // `auth` in an ACL stands for the digests in an order: theirs of arrival here, that of a hash map in Apache. These
        // four fall into one bucket of that map, where they have the order of arrival too.
        let (scheme, data) = self.pick(&[
            ("digest", "=a:a"),
            ("digest", "=b:e"),
            ("digest", "=nobody:x"),
            ("digest", "=nocolonq"),
            ("ip", "=1.2.3.4"),
            ("world", "=anyone"),
            ("nothing", "=x"),
            ("digest", "null"),
        ]);
        Request::new(&["auth", scheme, data])
    }

    fn set_watches(&mut self) -> Request {
        let back = self.below(40).to_string();
        let lists: Vec<String> = (0..5)
            .map(|_| match self.below(3) {
                0 => "-".to_owned(),
                1 => self.path(),
                _ => self.path() + "," + &self.path(),
            })
            .collect();
        let (word, count) = self.pick(&[("set-watches", 3), ("set-watches2", 5)]);
        let mut words = vec![word, back.as_str()];
        words.extend(lists[..count].iter().map(String::as_str));
        Request::new(&words)
    }

    fn request(&mut self) -> Request {
        if !self.limited.is_empty() && self.below(8) == 0 {
            return if self.below(2) == 0 { self.quota_write() } else { self.quota_read() };
        }
        match self.below(22) {
            0..=6 => loop {
                let write = self.write();
                // A check alone is no request.
                if write.word() != "check" {
                    return write;
                }
            },
            7 => Request::new(&["set-acl", &self.path(), self.acl(), self.version()]),
            8 | 9 => {
                let quotas = !self.limited.is_empty();
                let count = self.below(6);
                let op = |_| if quotas && self.below(8) == 0 { self.quota_write() } else { self.write() };
                Request::of("multi", (0..count).map(op).collect())
            }
            10..=13 => self.read(&["exists", "get", "children", "children2"]),
            14 => Request::new(&[self.pick(&["acl", "sync", "ephemerals", "count"]), &self.path()]),
            15 | 16 => Request::new(&["add-watch", &self.path(), self.pick(&["0", "1", "0", "1", "0", "1", "2"])]),
            17 => {
                let word = self.pick(&["check-watches", "remove-watches"]);
                Request::new(&[word, &self.path(), self.pick(&["1", "2", "3", "4", "5", "6"])])
            }
            18 => {
                let reads = (0..self.below(5)).map(|_| self.read(&["get", "children"])).collect();
                Request::of("multi-read", reads)
            }
            19 => self.set_watches(),
            20 => Request::new(&["who-am-i"]),
            _ => self.read(&["exists", "children"]),
        }
    }

    fn burst(&mut self, most: u64) -> Vec<Vec<Request>> {
        let count = 2 + self.below(most);
        let mut requests = Vec::new();
        for _ in 0..count {
            let request = self.request();
            let last = request.word() == "set-acl";
            requests.push(request);
            // What is behind a setACL is in `deviations`.
            if last {
                break;
            }
        }
        self.parts(requests)
    }

    /// The bursts that these requests are sent in: one, where no quota can refuse any.
    fn parts(&mut self, requests: Vec<Request>) -> Vec<Vec<Request>> {
        self.barrier.answered();
        let mut parts = vec![Vec::new()];
        for request in requests {
            if !self.barrier.passes(&request) {
                self.barrier.answered();
                parts.push(Vec::new());
            }
            self.barrier.sent(&request);
            if let Some(part) = parts.last_mut() {
                part.push(request);
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::generated::step;

    #[test]
    fn scripts_have_every_kind_of_step_and_can_be_written_and_read() {
        let mut seen = BTreeSet::new();
        for seed in 1..30 {
            let steps = script(seed, 400, Features { quotas: true });
            assert_eq!(step::parse(&step::print(&steps)).unwrap(), steps);
            assert_eq!(script(seed, 400, Features { quotas: true }), steps);
            for step in &steps {
                match &step.what {
                    What::Ask(requests) => seen.extend(requests.iter().map(|it| it.word().to_owned())),
                    _ => drop(seen.insert(step.to_string()[2..].to_owned())),
                }
            }
        }
        assert_eq!(seen.len(), 8 + 26, "{seen:?}");
    }
    #[test]
    fn some_scripts_have_quotas_and_their_bursts_are_not_all_cut() {
        let mut of_many = 0;
        for seed in 1..30 {
            let steps = script(seed, 400, Features { quotas: true });
            assert_eq!(step::print(&steps).contains("_limits"), seed % 3 > 0, "seed {seed}");
            let creates = |step: &&Step| match &step.what {
                What::Ask(requests) => requests.iter().filter(|it| it.word() == "create").count() > 1,
                _ => false,
            };
            of_many += if seed % 3 > 0 { steps.iter().filter(creates).count() } else { 0 };
        }
        assert!(of_many > 300, "{of_many} bursts with two creates");
    }
}
