//! What nobody thought of: pseudo-random operations of three clients on a few paths, the same for both servers.

use anyhow::Result;
use ostler_conformance::raw::ConnectRequest;
use ostler_conformance::script::{Body, OPEN, Talk, auth, create_acl, multi, path, path_version, set, set_acl, watch};

const CLIENTS: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 4] = ["x", "y", "z-", "\u{e9}"];

/// A generator that gives the same for a seed, for ever.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn path(&mut self) -> String {
        match self.below(60) {
            0 => "/".to_owned(),
            1 => "/zookeeper".to_owned(),
            2 => "/r".to_owned(),
            3 => "/r/".to_owned(),
            _ => (0..=self.below(2)).fold("/r".to_owned(), |path, _| path + "/" + self.pick(&NAMES)),
        }
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        match self.below(6) {
            0 => None,
            1 => Some(Vec::new()),
            length => Some(vec![b'd'; length as usize * 7]),
        }
    }

    fn version(&mut self) -> i32 {
        self.pick(&[-1, -1, -1, 0, 1, 2])
    }

    fn acl(&mut self) -> &'static [(i32, &'static str, &'static str)] {
        self.pick(&[
            OPEN,
            OPEN,
            OPEN,
            OPEN,
            &[(31, "auth", "")],
            &[(1, "world", "anyone"), (31, "auth", "")],
            &[(30, "world", "anyone"), (1, "digest", "a:FZUFAfsfTfr1dDFLtmb0a6FzeWg=")],
            &[(31, "ip", "127.0.0.0/8")],
            &[(23, "world", "anyone")],
            &[],
        ])
    }

    fn create(&mut self) -> (i32, Vec<u8>) {
        let op = self.pick(&[1, 1, 15, 15, 19]);
        let flags = if op == 19 { 4 } else { self.pick(&[0, 0, 0, 1, 2, 3, 5]) };
        (op, create_acl(&self.path(), self.data().as_deref(), self.acl(), flags))
    }

    fn write(&mut self) -> (i32, Vec<u8>) {
        match self.below(10) {
            0..=4 => self.create(),
            5 | 6 => (2, path_version(&self.path(), self.version())),
            7 => (13, path_version(&self.path(), self.version())),
            _ => (5, set(&self.path(), self.data().as_deref(), self.version())),
        }
    }

    fn request(&mut self) -> (i32, Vec<u8>) {
        match self.below(20) {
            0..=6 => loop {
                let write = self.write();
                // A check alone is no request.
                if write.0 != 13 {
                    return write;
                }
            },
            7 => (7, set_acl(&self.path(), self.acl(), self.version())),
            8 | 9 => {
                let ops: Vec<_> = (0..self.below(5)).map(|_| self.write()).collect();
                (14, multi(&ops))
            }
            10..=13 => (self.pick(&[3, 4, 8, 12]), watch(&self.path(), self.below(2) == 0)),
            14 => (self.pick(&[6, 9, 103, 104]), path(&self.path())),
            15 => (106, Body::new().text(&self.path()).int(self.below(3) as i32).0),
            16 => (self.pick(&[17, 18]), Body::new().text(&self.path()).int(1 + self.below(5) as i32).0),
            17 => {
                let reads: Vec<_> =
                    (0..self.below(4)).map(|_| (self.pick(&[4, 8]), watch(&self.path(), self.below(2) == 0))).collect();
                (22, multi(&reads))
            }
            18 => {
                let zxid = self.below(600) as i64;
                let lists: Vec<String> = (0..5).map(|_| self.path()).collect();
                let body = lists[..3].iter().fold(Body::new().long(zxid), |body, path| body.texts(&[path]));
                (105, body.texts(&[&lists[3]]).texts(&[&lists[4]]).0)
            }
            _ => (20, path(&self.path())),
        }
    }
}

pub fn run(talk: &mut Talk, seed: u64, steps: usize) -> Result<()> {
    talk.part(&format!("random, seed {seed}"));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for name in CLIENTS {
        talk.connect(name)?;
    }
    talk.call("a", 100, &auth("digest", b"a:a"))?;
    talk.call("b", 100, &auth("digest", b"b:b"))?;
    talk.call("c", 1, &create_acl("/r", None, OPEN, 0))?;
    for _ in 0..steps {
        let name = random.pick(&CLIENTS);
        match random.below(40) {
            // A batch, without waiting in between.
            0..=3 => {
                let mut last = (0, 0);
                for _ in 0..=random.below(12) {
                    let (mut op, mut body) = random.request();
                    // What is behind a setACL is in `deviations`.
                    while op == 7 {
                        (op, body) = random.request();
                    }
                    last = (talk.send(name, op, &body)?, op);
                }
                talk.until(name, last.0, last.1)?;
            }
            4 => {
                talk.sorted(|talk| talk.close(name))?;
                // The ephemerals of a session go in no particular order.
                for other in CLIENTS.iter().filter(|other| **other != name) {
                    talk.sorted(|talk| talk.ping(other))?;
                }
                talk.connect(name)?;
                if name != "c" {
                    talk.call(name, 100, &auth("digest", format!("{name}:{name}").as_bytes()))?;
                }
            }
            5 => {
                let granted = talk.granted(name)?;
                let again = ConnectRequest {
                    session_id: granted.session_id,
                    password: Some(granted.password),
                    ..ConnectRequest::default()
                };
                talk.hang_up(name);
                talk.connect_with(name, &again)?;
            }
            _ => {
                let (op, body) = random.request();
                talk.call(name, op, &body)?;
            }
        }
    }
    // Closed, so that none of them runs out of time during what comes next.
    for (at, name) in CLIENTS.iter().enumerate() {
        talk.sorted(|talk| talk.close(name))?;
        for other in &CLIENTS[at + 1..] {
            talk.sorted(|talk| talk.ping(other))?;
        }
    }
    Ok(())
}
