//! Scripts that nobody thought of: pseudo-random, the same for a seed for ever.
//!
//! What the two servers answer otherwise on purpose is left out; it stands in `tests/conversation/deviations.rs`.

use super::step::{ACLS, Request, Step, What};

const CLIENTS: [char; 5] = ['a', 'b', 'c', 'd', 'e'];
const NAMES: [&str; 4] = ["x", "y", "z-", "\u{e9}"];

/// What a script may ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// Limits and usage under `/zookeeper/quota`.
    pub quotas: bool,
}

/// A generator that gives the same for a seed, for ever.
struct Random {
    state: u64,
    features: Features,
}

/// A script of `turns` turns.
pub fn script(seed: u64, turns: usize, features: Features) -> Vec<Step> {
    let mut random = Random { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, features };
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
                turn(other, What::Ask(random.burst(6)));
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
            9..=24 => turn(client, What::Ask(random.burst(30))),
            _ => turn(client, What::Ask(vec![random.request()])),
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

    fn quota(&mut self) -> Request {
        // Limits without data, or those of the whole tree, end Apache's server.
        let of = self.pick(&["/r", "/r/x", "/r/y", "/r/x/y"]);
        let node = format!("/zookeeper/quota{of}/zookeeper_limits");
        let limits = self.pick(&[
            "=count=5,bytes=-1",
            "=count=-1,bytes=30",
            "=count=3,bytes=100;byteHardLimit=40;countHardLimit=4",
            "=countHardLimit=6",
            "=byteHardLimit=20",
        ]);
        match self.below(8) {
            0 => Request::new(&["create", &format!("/zookeeper/quota{of}"), "null", "open", "0"]),
            1..=3 => Request::new(&["create", &node, limits, "open", "0"]),
            4 => Request::new(&["set", &node, limits, "-1"]),
            5 => Request::new(&["delete", &node, "-1"]),
            6 => Request::new(&[
                "create",
                &format!("/zookeeper/quota{of}/zookeeper_stats"),
                "=count=0,bytes=0",
                "open",
                "0",
            ]),
            _ => Request::new(&["get", &format!("/zookeeper/quota{of}/zookeeper_stats")]),
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
        if self.features.quotas && self.below(12) == 0 {
            return self.quota();
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
                let ops = (0..self.below(6)).map(|_| self.write()).collect();
                Request::of("multi", ops)
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

    fn burst(&mut self, most: u64) -> Vec<Request> {
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
        requests
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
}
