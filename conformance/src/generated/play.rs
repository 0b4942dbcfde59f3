//! Plays a script against one server, and notes all that is answered.
//!
//! After each turn every other client that is connected pings: what the turn told it is noted before the next turn
//! begins, so that the transcript is the same each time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::step::{Request, Step, What};
use crate::raw::{ConnectRequest, ConnectResponse, Reply};
use crate::script::{Body, Talk, auth, create, path, path_version, watch};

/// The client that looks at everything and cleans up.
const SUPER: &str = "super";
/// The client that waits for the end of sessions that have no connection.
const WITNESS: &str = "witness";
/// Under it are ephemerals whose end shows the end of their session.
const ENDS: &str = "/ends";
/// The session timeout of all clients; none runs out of time before its script ends.
const TIMEOUT_MS: i32 = 120_000;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(8);
/// A ping.
const PING: (i32, i32) = (-2, 11);

/// The session of a client, and the watches that a real client would know of.
#[derive(Debug)]
struct Session {
    granted: ConnectResponse,
    seen: i64,
    /// Data, exist, child, persistent, persistent recursive.
    watches: [BTreeSet<String>; 5],
    /// What its unanswered requests would register.
    pending: BTreeMap<i32, (usize, String)>,
}

struct Player {
    talk: Talk,
    sessions: BTreeMap<char, Session>,
    /// Ends seen so far.
    ends: u32,
}

/// Plays `steps`, dumps and deletes all that they made, and returns the transcript. What goes wrong is its last line.
pub fn play(addr: SocketAddr, steps: &[Step]) -> (Vec<String>, Result<()>) {
    let mut talk = Talk::new(addr);
    talk.keeps_frames = true;
    talk.limit = LIMIT;
    let mut player = Player { talk, sessions: BTreeMap::new(), ends: 0 };
    let result = player.all(steps);
    if let Err(error) = &result {
        player.talk.say(format!("{error:#}"));
    }
    (player.talk.lines().to_vec(), result)
}

impl Player {
    fn all(&mut self, steps: &[Step]) -> Result<()> {
        let long = ConnectRequest { timeout_ms: TIMEOUT_MS, ..ConnectRequest::default() };
        for name in [SUPER, WITNESS] {
            self.talk.connect_with(name, &long)?;
        }
        self.talk.call(SUPER, 100, &auth("digest", b"super:secret"))?;
        self.talk.call(SUPER, 1, &create(ENDS, b"", 0))?;
        for step in steps {
            self.talk.part(&step.to_string());
            self.step(step).with_context(|| step.to_string())?;
            self.learn();
        }
        self.talk.part("what is there");
        self.dump("/")?;
        self.talk.part("the end");
        let clients: Vec<char> = self.sessions.keys().copied().collect();
        for client in clients {
            let name = client.to_string();
            if !self.talk.is_connected(&name) {
                self.come_back(client, |_| {})?;
            }
            self.close(client)?;
        }
        self.delete_below("/")?;
        self.talk.close(WITNESS)?;
        self.talk.close(SUPER)
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let name = step.client.to_string();
        let known = self.sessions.contains_key(&step.client);
        let connected = self.talk.is_connected(&name);
        match &step.what {
            What::Connect if !known => {
                self.talk
                    .connect_with(&name, &ConnectRequest { timeout_ms: TIMEOUT_MS, ..ConnectRequest::default() })?;
                let session = Session {
                    granted: self.talk.granted(&name)?,
                    seen: 0,
                    watches: Default::default(),
                    pending: BTreeMap::new(),
                };
                self.sessions.insert(step.client, session);
                Ok(())
            }
            What::Drop if connected => {
                self.talk.hang_up(&name);
                Ok(())
            }
            What::Resume if known => self.come_back(step.client, |_| {}),
            What::ResumeWrong if known => {
                self.talk.hang_up(&name);
                self.come_back(step.client, |request| request.password = Some(vec![3; 16]))?;
                self.talk.until_closed(&name)
            }
            What::ResumeAhead if known => {
                self.talk.hang_up(&name);
                self.come_back(step.client, |request| request.last_zxid_seen = i64::MAX)
            }
            What::Close if connected => {
                self.close(step.client)?;
                self.pings_of_others(&name, true)
            }
            What::Expire if known => self.expire(step.client, true),
            What::ExpireAway if known => self.expire(step.client, false),
            What::Ask(requests) if connected => {
                self.ask(step.client, requests)?;
                self.pings_of_others(&name, false)
            }
            _ => {
                self.talk.say(format!("{name} can't"));
                Ok(())
            }
        }
    }

    /// Asks for the session again; its old connection, if there is one, ends when the answer is here.
    fn come_back(&mut self, client: char, change: impl FnOnce(&mut ConnectRequest)) -> Result<()> {
        let session = self.sessions.get(&client).context("a session that is known")?;
        let mut request = ConnectRequest {
            timeout_ms: TIMEOUT_MS,
            session_id: session.granted.session_id,
            password: Some(session.granted.password.clone()),
            ..ConnectRequest::default()
        };
        change(&mut request);
        self.talk.connect_with(&client.to_string(), &request)
    }

    fn close(&mut self, client: char) -> Result<()> {
        self.sessions.remove(&client);
        let name = client.to_string();
        // The ephemerals of a session go in no particular order.
        self.talk.sorted(|talk| talk.close(&name))
    }

    /// Lets the session run out of time, and waits until its ephemerals have gone: Apache closes the connection at about
    /// the same time, not when the session has ended.
    fn expire(&mut self, client: char, stays: bool) -> Result<()> {
        let name = client.to_string();
        self.ends += 1;
        let end = format!("{ENDS}/{}", self.ends);
        // A connection that is still there would be told of its own end.
        self.come_back(client, |_| {})?;
        self.talk.call(&name, 1, &create(&end, b"", 1))?;
        self.talk.call(WITNESS, 3, &watch(&end, true))?;
        self.pings_of_others(&name, false)?;
        self.talk.hang_up(&name);
        self.come_back(client, |request| request.timeout_ms = 1)?;
        if stays {
            self.talk.sorted(|talk| talk.until_closed(&name))?;
        } else {
            self.talk.hang_up(&name);
        }
        self.sessions.remove(&client);
        self.talk.read(WITNESS, 1)?;
        self.pings_of_others(&name, true)
    }

    fn ask(&mut self, client: char, requests: &[Request]) -> Result<()> {
        let name = client.to_string();
        let mut last = None;
        for request in requests {
            let session = self.sessions.get(&client).context("a session that is known")?;
            let (op, body) = match request.word() {
                "rewatch" => {
                    let lists = session.watches.each_ref().map(|it| it.iter().map(String::as_str).collect::<Vec<_>>());
                    let body = lists.iter().fold(Body::new().long(session.seen), |body, list| body.texts(list));
                    (105, body.0)
                }
                _ => request.encode(session.seen)?,
            };
            let xid = self.talk.send(&name, op, &body)?;
            if let Some(registers) = registers(request)
                && let Some(session) = self.sessions.get_mut(&client)
            {
                session.pending.insert(xid, registers);
            }
            last = Some(xid);
        }
        let Some(last) = last else { return Ok(()) };
        if self.talk.until_or_closed(&name, last)? {
            if requests.last().is_some_and(|it| it.word() == "op") {
                // The connection ends; a ping may or may not be answered before.
                return self.talk.until_closed(&name);
            }
            // A refused identity ends it too, but nothing more is read.
            let refused = requests.iter().any(|it| it.word() == "auth");
            self.talk
                .send_xid(&name, PING.0, PING.1, &[])
                .or_else(|error| if refused { Ok(()) } else { Err(error) })?;
            self.talk.until_or_closed(&name, PING.0)?;
        }
        Ok(())
    }

    /// Everybody but `name` pings, so that what they were told is noted.
    fn pings_of_others(&mut self, name: &str, in_no_order: bool) -> Result<()> {
        let mut others: Vec<String> = self.sessions.keys().map(ToString::to_string).collect();
        others.push(WITNESS.to_owned());
        for other in others.iter().filter(|it| *it != name) {
            if !self.talk.is_connected(other) {
                continue;
            }
            if in_no_order {
                self.talk.sorted(|talk| talk.ping(other))?;
            } else {
                self.talk.ping(other)?;
            }
        }
        Ok(())
    }

    /// Follows zxids and watches as a client does.
    fn learn(&mut self) {
        for (name, op, reply) in self.talk.take_frames() {
            let Some(session) =
                name.chars().next().filter(|_| name.len() == 1).and_then(|it| self.sessions.get_mut(&it))
            else {
                continue;
            };
            if reply.xid == -1 {
                session.hear(&reply);
                continue;
            }
            if reply.xid >= 0 && reply.zxid > 0 {
                session.seen = reply.zxid;
            }
            if let Some((table, path)) = session.pending.remove(&reply.xid) {
                match reply.err {
                    0 => drop(session.watches[table].insert(path)),
                    -101 if op == Some(3) => drop(session.watches[1].insert(path)),
                    _ => {}
                }
            }
        }
    }

    /// Everything that the super user sees, in the order of paths.
    fn dump(&mut self, at: &str) -> Result<()> {
        self.talk.call(SUPER, 4, &watch(at, false))?;
        self.talk.call(SUPER, 6, &path(at))?;
        for child in self.children(at)? {
            self.dump(&child)?;
        }
        Ok(())
    }

    fn delete_below(&mut self, at: &str) -> Result<()> {
        for child in self.children(at)? {
            self.delete_below(&child)?;
            if !matches!(child.as_str(), "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config") {
                self.talk.call(SUPER, 2, &path_version(&child, -1))?;
            }
        }
        Ok(())
    }

    /// The paths of the children, sorted.
    fn children(&mut self, at: &str) -> Result<Vec<String>> {
        let reply = self.talk.call(SUPER, 8, &watch(at, false))?;
        if reply.err != 0 {
            bail!("the super user can't list {at}: {reply:?}");
        }
        let parent = at.strip_suffix('/').unwrap_or(at);
        let mut names = strings(&reply.body)?;
        names.sort();
        Ok(names.into_iter().map(|name| format!("{parent}/{name}")).collect())
    }
}

impl Session {
    fn hear(&mut self, event: &Reply) {
        let Some((kind, path)) = event_of(&event.body) else { return };
        // Created, deleted, data changed, children changed.
        let fired: &[usize] = match kind {
            1 | 3 => &[0, 1],
            2 => &[0, 1, 2],
            4 => &[2],
            _ => &[],
        };
        for table in fired {
            self.watches[*table].remove(&path);
        }
    }
}

/// The table and the path of the watch that a request sets.
fn registers(request: &Request) -> Option<(usize, String)> {
    let path = request.words.get(1)?.clone();
    let watches = request.words.get(2)?;
    match (request.word(), watches.as_str()) {
        ("get" | "exists", "watch") => Some((0, path)),
        ("children" | "children2", "watch") => Some((2, path)),
        ("add-watch", "0") => Some((3, path)),
        ("add-watch", "1") => Some((4, path)),
        _ => None,
    }
}

fn event_of(body: &[u8]) -> Option<(i32, String)> {
    let (kind, rest) = body.split_first_chunk::<4>()?;
    let path = rest.get(8..)?;
    Some((i32::from_be_bytes(*kind), String::from_utf8_lossy(path).into_owned()))
}

fn strings(body: &[u8]) -> Result<Vec<String>> {
    let (count, mut rest) = body.split_first_chunk::<4>().context("a list without a count")?;
    let mut out = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>().context("a list that is cut off")?;
        let length = usize::try_from(i32::from_be_bytes(*length)).context("a null string in a list")?;
        let (text, behind) = behind.split_at_checked(length).context("a string that is cut off")?;
        out.push(String::from_utf8_lossy(text).into_owned());
        rest = behind;
    }
    Ok(out)
}
