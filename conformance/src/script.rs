//! Scripted conversations: the same frames sent to two servers, and a transcript of every byte they answer.
//!
//! A [`Talk`] is one server's side: several clients by name, and the lines of the transcript. Two transcripts are equal
//! if the servers answered the same bytes in the same order on each connection. Only what can't be equal is masked: wall
//! clock times, session ids and passwords. Lists whose order ZooKeeper leaves open are sorted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::raw::{ConnectRequest, ConnectResponse, Connection, LIMIT, Reply};

/// The most frames that may come before an awaited reply.
const FRAMES_MAX: usize = 100_000;
/// The most differences that are told in full.
const DIFFERENCES_MAX: usize = 12;
/// Bytes of a request that the transcript shows.
const SHOWN_MAX: usize = 200;
/// The xid that shows whether a connection is still served.
const PROBE: i32 = 0x7000_0001;
const PING: i32 = 11;
/// Error and zxid of the reply to an operation that there is not: the last one.
const UNKNOWN: (i32, i64) = (-6, -1);
/// The error of a body that can't be read.
const UNREADABLE: i32 = -5;
/// Writes that Apache gives the zxid of the txn before if their bodies can't be read.
const WRITES: [i32; 9] = [1, 2, 5, 7, 15, 16, 19, 20, 21];
/// Times within this of now are masked.
const HOUR_MS: u64 = 3_600_000;

/// One server's side of a conversation.
#[derive(Debug)]
pub struct Talk {
    addr: SocketAddr,
    clients: BTreeMap<String, Client>,
    /// Bytes that differ between servers, and what stands for them.
    masks: Vec<(Vec<u8>, String)>,
    lines: Vec<String>,
    now_ms: i64,
    /// The newest zxid that [`Talk::outcome`] saw.
    newest_zxid: i64,
    /// Mask the zxid of reply headers: for the conversations in which one server uses zxids that the other saves.
    pub hides_zxids: bool,
    /// Keep the frames as they came, for [`Talk::take_frames`].
    pub keeps_frames: bool,
    frames: Vec<(String, Option<i32>, Reply)>,
    /// How long one read may take, for connections to come.
    pub limit: Duration,
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    granted: ConnectResponse,
    xid: i32,
    /// What was asked, by xid.
    asked: BTreeMap<i32, i32>,
}

impl Talk {
    /// A conversation with the server at `addr`.
    pub fn new(addr: SocketAddr) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = now.as_millis() as i64;
        Self {
            addr,
            clients: BTreeMap::new(),
            masks: Vec::new(),
            lines: Vec::new(),
            now_ms,
            newest_zxid: 0,
            hides_zxids: false,
            keeps_frames: false,
            frames: Vec::new(),
            limit: LIMIT,
        }
    }

    /// The transcript.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// A line of the caller's own.
    pub fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    /// The frames noted since the last call: whose, what they answer, what they are.
    pub fn take_frames(&mut self) -> Vec<(String, Option<i32>, Reply)> {
        std::mem::take(&mut self.frames)
    }

    /// Whether `name` has a connection, as far as it knows.
    pub fn is_connected(&self, name: &str) -> bool {
        self.clients.contains_key(name)
    }

    /// A headline in the transcript.
    pub fn part(&mut self, name: &str) {
        self.lines.push(format!("== {name}"));
    }

    /// A new session of 30 seconds for the client `name`.
    pub fn connect(&mut self, name: &str) -> Result<()> {
        self.connect_with(name, &ConnectRequest::default())
    }

    /// Connects with `request`. A client of the same name is dropped, its session is not closed.
    pub fn connect_with(&mut self, name: &str, request: &ConnectRequest) -> Result<()> {
        let mut connection = Connection::open(self.addr)?;
        connection.set_limit(self.limit)?;
        connection.send_frame(&request.encode())?;
        let line = match connection.frame_or_end()? {
            None => "closed".to_owned(),
            Some(frame) => {
                let granted = ConnectResponse::decode(&frame)?;
                if granted.session_id != 0 {
                    let number = self.masks.len() / 2 + 1;
                    if !self.masks.iter().any(|(bytes, _)| bytes[..] == granted.session_id.to_be_bytes()) {
                        self.masks.push((granted.session_id.to_be_bytes().to_vec(), format!("<session {number}>")));
                        self.masks.push((granted.password.clone(), format!("<password {number}>")));
                    }
                }
                let line = self.masked(&frame);
                self.clients.insert(name.to_owned(), Client { connection, granted, xid: 0, asked: BTreeMap::new() });
                line
            }
        };
        self.lines.push(format!("{name} connect -> {line}"));
        Ok(())
    }

    /// Connects with a first frame of any bytes; what comes back is noted, and no client made of it.
    pub fn connect_with_bytes(&mut self, name: &str, frame: &[u8]) -> Result<()> {
        let mut connection = Connection::open(self.addr)?;
        connection.send_frame(frame)?;
        let answer = connection.frame_or_end()?;
        let line = answer.map_or_else(|| "closed".to_owned(), |frame| self.masked(&frame));
        self.lines.push(format!("{name} connect with {} bytes -> {line}", frame.len()));
        Ok(())
    }

    /// What the client `name` was granted.
    pub fn granted(&self, name: &str) -> Result<ConnectResponse> {
        Ok(self.client(name)?.granted.clone())
    }

    /// Sends a request and does not wait; returns its xid.
    pub fn send(&mut self, name: &str, op: i32, body: &[u8]) -> Result<i32> {
        let client = self.client_mut(name)?;
        client.xid += 1;
        let xid = client.xid;
        client.asked.insert(xid, op);
        client.connection.send(xid, op, body)?;
        self.lines.push(format!("{name} asks xid={xid} op={op} {}", hex(&body[..body.len().min(SHOWN_MAX)])));
        Ok(xid)
    }

    /// Sends a request with an xid of the caller's choice.
    pub fn send_xid(&mut self, name: &str, xid: i32, op: i32, body: &[u8]) -> Result<()> {
        self.client_mut(name)?.connection.send(xid, op, body)
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.client_mut(name)?.connection.send_bytes(bytes)
    }

    /// Notes `count` frames, whatever they are.
    pub fn read(&mut self, name: &str, count: usize) -> Result<()> {
        for _ in 0..count {
            let frame = self.client_mut(name)?.connection.read_frame().with_context(|| self.tail())?;
            self.note(name, &frame);
        }
        Ok(())
    }

    /// Sends a request and notes all that comes, up to its reply.
    pub fn call(&mut self, name: &str, op: i32, body: &[u8]) -> Result<Reply> {
        let xid = self.send(name, op, body)?;
        self.until(name, xid, op)
    }

    /// Sends a request with an xid of the caller's choice, and notes what comes: its reply, and whether the connection is
    /// still served behind it. If it is not, the session goes on at a new connection.
    pub fn outcome(&mut self, name: &str, xid: i32, op: i32, body: &[u8]) -> Result<()> {
        let shown = hex(&body[..body.len().min(SHOWN_MAX)]);
        self.lines.push(format!("{name} asks xid={xid} op={op} {shown}"));
        let newest = self.newest_zxid;
        let client = self.client_mut(name)?;
        client.asked.insert(xid, op);
        client.connection.send(xid, op, body)?;
        let reply_xid = if op == PING { -2 } else { xid };
        let mut is_answered = false;
        loop {
            let frame = self.client_mut(name)?.connection.frame_or_end().with_context(|| self.tail())?;
            let Some(frame) = frame else { break };
            let reply = Reply::decode(&frame)?;
            self.newest_zxid = self.newest_zxid.max(reply.zxid);
            if is_answered && reply.xid == PROBE {
                return Ok(());
            }
            let hides_zxids = self.hides_zxids;
            self.hides_zxids |= reply.err == UNREADABLE && WRITES.contains(&op);
            self.note(name, &frame);
            self.hides_zxids = hides_zxids;
            if !is_answered && reply.xid == reply_xid {
                is_answered = true;
                if (reply.err, reply.zxid) == UNKNOWN {
                    // Apache may answer one more before it closes.
                    continue;
                }
                if reply.err == UNREADABLE && reply.zxid == newest && WRITES.contains(&op) {
                    // Apache spends no zxid on it, Ostler does: a delete of nothing brings them together again.
                    let client = self.client_mut(name)?;
                    let nothing = path_version("/nothing-at-all", -1);
                    ensure!(client.connection.call(PROBE + 1, 2, &nothing)?.err == -101);
                }
                // Only now, so that no unread request makes the end of the connection overtake the reply. A connection
                // that is closed already says so when it is read.
                let _ = self.client_mut(name)?.connection.send(PROBE, 3, &watch("/", false));
            }
        }
        self.lines.push(format!("{name} closed by the server"));
        let granted = self.granted(name)?;
        let again = ConnectRequest {
            session_id: granted.session_id,
            password: Some(granted.password),
            ..ConnectRequest::default()
        };
        self.connect_with(name, &again)
    }

    /// Notes all that comes up to the reply to `xid`.
    pub fn until(&mut self, name: &str, xid: i32, op: i32) -> Result<Reply> {
        for _ in 0..FRAMES_MAX {
            let frame = self
                .client_mut(name)?
                .connection
                .read_frame()
                .with_context(|| format!("waiting for the reply to xid {xid}, op {op}; {}", self.tail()))?;
            let reply = Reply::decode(&frame)?;
            self.note(name, &frame);
            if reply.xid == xid {
                return Ok(reply);
            }
        }
        bail!("{FRAMES_MAX} frames and no reply to xid {xid}")
    }

    /// The same, where the server may close the connection instead; whether the reply came.
    pub fn until_or_closed(&mut self, name: &str, xid: i32) -> Result<bool> {
        for _ in 0..FRAMES_MAX {
            let waiting = || format!("waiting for the reply to xid {xid}");
            let Some(frame) = self.client_mut(name)?.connection.frame_or_end().with_context(waiting)? else {
                self.lines.push(format!("{name} closed by the server"));
                self.clients.remove(name);
                return Ok(false);
            };
            self.note(name, &frame);
            if Reply::decode(&frame)?.xid == xid {
                return Ok(true);
            }
        }
        bail!("{FRAMES_MAX} frames and no reply to xid {xid}")
    }

    /// Pings and notes all that comes before the reply: shows that nothing else was on its way.
    pub fn ping(&mut self, name: &str) -> Result<()> {
        self.send_xid(name, -2, 11, &[])?;
        self.until(name, -2, 11)?;
        Ok(())
    }

    /// Does `what`, and sorts what is noted meanwhile: for frames whose order does not matter.
    pub fn sorted(&mut self, what: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let from = self.lines.len();
        what(self)?;
        self.lines[from..].sort();
        Ok(())
    }

    /// Notes what comes until the server closes the connection.
    pub fn until_closed(&mut self, name: &str) -> Result<()> {
        for _ in 0..FRAMES_MAX {
            let Some(frame) = self.client_mut(name)?.connection.frame_or_end().with_context(|| self.tail())? else {
                self.lines.push(format!("{name} closed by the server"));
                self.clients.remove(name);
                return Ok(());
            };
            self.note(name, &frame);
        }
        bail!("{FRAMES_MAX} frames and no end")
    }

    /// Ends the connection of `name` without closing its session.
    pub fn hang_up(&mut self, name: &str) {
        self.clients.remove(name);
    }

    /// Closes the session of `name`.
    pub fn close(&mut self, name: &str) -> Result<()> {
        let xid = self.send(name, -11, &[])?;
        self.until(name, xid, -11)?;
        self.until_closed(name)
    }

    fn client(&self, name: &str) -> Result<&Client> {
        self.clients.get(name).with_context(|| format!("{name} is not connected; {}", self.tail()))
    }

    fn client_mut(&mut self, name: &str) -> Result<&mut Client> {
        if !self.clients.contains_key(name) {
            bail!("{name} is not connected; {}", self.tail());
        }
        self.clients.get_mut(name).context("looked up a moment ago")
    }

    fn tail(&self) -> String {
        let from = self.lines.len().saturating_sub(5);
        format!("the last lines were\n{}", self.lines[from..].join("\n"))
    }

    fn note(&mut self, name: &str, frame: &[u8]) {
        let Ok(reply) = Reply::decode(frame) else {
            self.lines.push(format!("{name} <- a short frame {}", hex(frame)));
            return;
        };
        let op = self.clients.get(name).and_then(|client| client.asked.get(&reply.xid)).copied();
        let body = match op.filter(|_| reply.err == 0).and_then(|op| sorted_body(op, &reply.body)) {
            Some((list, rest)) => format!("{list:?} {}", self.masked(rest)),
            None if op == Some(22) => self.masked(&sorted_children(&reply.body).unwrap_or_else(|| reply.body.clone())),
            None => self.masked(&reply.body),
        };
        let what = op.map_or_else(|| "<-".to_owned(), |op| format!("op {op} ->"));
        let zxid = if self.hides_zxids { "hidden".to_owned() } else { format!("0x{:x}", reply.zxid) };
        self.lines.push(format!("{name} {what} xid={} zxid={zxid} err={} body={body}", reply.xid, reply.err));
        if self.keeps_frames {
            self.frames.push((name.to_owned(), op, reply));
        }
    }

    fn masked(&self, bytes: &[u8]) -> String {
        // Sessions first: an id of ours holds a part of the time.
        for (known, mask) in &self.masks {
            if let Some(at) = bytes.windows(known.len()).position(|window| window == known) {
                let (before, behind) = (&bytes[..at], &bytes[at + known.len()..]);
                return format!("{}{mask}{}", self.masked(before), self.masked(behind));
            }
        }
        let mut text = String::with_capacity(2 * bytes.len());
        let mut rest = bytes;
        while let Some((first, behind)) = rest.split_first() {
            if let Some((head, tail)) = rest.split_first_chunk::<8>()
                && i64::from_be_bytes(*head).abs_diff(self.now_ms) < HOUR_MS
            {
                text.push_str("<time>");
                rest = tail;
                continue;
            }
            let _ = write!(text, "{first:02x}");
            rest = behind;
        }
        text
    }
}

/// The places where two transcripts differ, the first ones with what came before them; none if they are equal.
pub fn differences(one: (&str, &[String]), other: (&str, &[String])) -> Option<String> {
    let ((one_name, one), (other_name, other)) = (one, other);
    let line = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_else(|| "(nothing more)".to_owned());
    let mut text = String::new();
    let places: Vec<usize> = (0..one.len().max(other.len())).filter(|&at| one.get(at) != other.get(at)).collect();
    for &at in places.iter().take(DIFFERENCES_MAX) {
        let known = &one[..at.min(one.len())];
        let part = known.iter().rev().find(|line| line.starts_with("==")).cloned().unwrap_or_default();
        let before = known[known.len().saturating_sub(2)..].join("\n  ");
        let _ = write!(text, "\n{part}, line {at}, after\n  {before}\n");
        let _ = write!(text, "{one_name}:\n  {}\n{other_name}:\n  {}\n", line(one, at), line(other, at));
    }
    (!places.is_empty()).then(|| format!("{} lines differ{text}", places.len()))
}

/// Lists without an order: children, ephemerals, identities. Their items sorted, and what is behind them.
fn sorted_body(op: i32, body: &[u8]) -> Option<(Vec<String>, &[u8])> {
    let strings_an_item = match op {
        8 | 12 | 103 => 1,
        107 => 2,
        _ => return None,
    };
    let (count, mut rest) = body.split_first_chunk::<4>()?;
    let mut list = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let mut item = Vec::new();
        for _ in 0..strings_an_item {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (text, behind) = behind.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)?;
            item.push(String::from_utf8_lossy(text).into_owned());
            rest = behind;
        }
        list.push(item.join("="));
    }
    list.sort();
    Some((list, rest))
}

/// The reply to a multiRead with the children in each of its results sorted; none if it can't be read.
fn sorted_children(body: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut out) = (body, Vec::with_capacity(body.len()));
    loop {
        let (header, behind) = rest.split_first_chunk::<9>()?;
        out.extend(header);
        rest = behind;
        let length = match i32::from_be_bytes(*header.first_chunk()?) {
            _ if header[4] != 0 => return rest.is_empty().then_some(out),
            -1 => 4,
            4 => 4 + usize::try_from(i32::from_be_bytes(*rest.first_chunk()?).max(0)).ok()? + 68,
            8 => {
                let (count, mut behind) = rest.split_first_chunk::<4>()?;
                out.extend(count);
                let mut names = Vec::new();
                for _ in 0..i32::from_be_bytes(*count) {
                    let length = usize::try_from(i32::from_be_bytes(*behind.first_chunk()?)).ok()?;
                    let (name, next) = behind.split_at_checked(4 + length)?;
                    names.push(name);
                    behind = next;
                }
                names.sort_unstable();
                out.extend(names.concat());
                rest = behind;
                0
            }
            _ => return None,
        };
        let (result, behind) = rest.split_at_checked(length)?;
        out.extend(result);
        rest = behind;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A request body, field by field; nothing is checked, so that it can be wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A byte.
    pub fn byte(self, value: u8) -> Self {
        self.raw(&[value])
    }

    /// An int.
    pub fn int(self, value: i32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A long.
    pub fn long(self, value: i64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A string.
    pub fn text(self, value: &str) -> Self {
        self.int(value.len() as i32).raw(value.as_bytes())
    }

    /// A buffer; none: null.
    pub fn buffer(self, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.int(value.len() as i32).raw(value),
            None => self.int(-1),
        }
    }

    /// A vector of strings.
    pub fn texts(self, values: &[&str]) -> Self {
        values.iter().fold(self.int(values.len() as i32), |body, value| body.text(value))
    }

    /// An ACL: permissions, scheme, id.
    pub fn acl(self, entries: &[(i32, &str, &str)]) -> Self {
        let head = self.int(entries.len() as i32);
        entries.iter().fold(head, |body, (perms, scheme, id)| body.int(*perms).text(scheme).text(id))
    }
}

/// The ACL that lets everyone do everything.
pub const OPEN: &[(i32, &str, &str)] = &[(31, "world", "anyone")];

/// CreateRequest with an open ACL.
pub fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    create_acl(path, Some(data), OPEN, flags)
}

/// CreateRequest.
pub fn create_acl(path: &str, data: Option<&[u8]>, acl: &[(i32, &str, &str)], flags: i32) -> Vec<u8> {
    Body::new().text(path).buffer(data).acl(acl).int(flags).0
}

/// Path and version: delete, check.
pub fn path_version(path: &str, version: i32) -> Vec<u8> {
    Body::new().text(path).int(version).0
}

/// SetDataRequest.
pub fn set(path: &str, data: Option<&[u8]>, version: i32) -> Vec<u8> {
    Body::new().text(path).buffer(data).int(version).0
}

/// SetACLRequest.
pub fn set_acl(path: &str, acl: &[(i32, &str, &str)], version: i32) -> Vec<u8> {
    Body::new().text(path).acl(acl).int(version).0
}

/// A path alone.
pub fn path(path: &str) -> Vec<u8> {
    Body::new().text(path).0
}

/// A read: a path and whether to watch it.
pub fn watch(path: &str, watch: bool) -> Vec<u8> {
    Body::new().text(path).byte(u8::from(watch)).0
}

/// AuthPacket.
pub fn auth(scheme: &str, data: &[u8]) -> Vec<u8> {
    Body::new().int(0).text(scheme).buffer(Some(data)).0
}

/// MultiOperationRecord: opcodes and their records.
pub fn multi(ops: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let body = ops.iter().fold(Body::new(), |body, (op, record)| body.int(*op).byte(0).int(-1).raw(record));
    body.int(-1).byte(1).int(-1).0
}

/// Runs `script` against two servers at once and compares the transcripts.
pub fn compare(
    servers: [(&str, SocketAddr); 2],
    script: impl Fn(&mut Talk) -> Result<()> + Sync,
) -> Result<Vec<String>> {
    let talks = std::thread::scope(|scope| {
        let running = servers.map(|(name, addr)| {
            let script = &script;
            scope.spawn(move || {
                let mut talk = Talk::new(addr);
                let result = script(&mut talk).with_context(|| name.to_owned());
                (talk, result)
            })
        });
        running.map(std::thread::ScopedJoinHandle::join)
    });
    let mut done = Vec::new();
    for talk in talks {
        done.push(talk.map_err(|_| anyhow::anyhow!("a script panicked"))?);
    }
    let [(one, first), (other, second)] = done.try_into().map_err(|_| anyhow::anyhow!("two servers, two talks"))?;
    if let Some(difference) = differences((servers[0].0, one.lines()), (servers[1].0, other.lines())) {
        let errors = [first.err(), second.err()].into_iter().flatten().fold(String::new(), |mut text, error| {
            let _ = write!(text, "\n{error:?}");
            text
        });
        let dir = crate::paths::target().join("transcripts");
        std::fs::create_dir_all(&dir)?;
        for (talk, (name, addr)) in [&one, &other].into_iter().zip(servers) {
            std::fs::write(dir.join(format!("{name} {}.txt", addr.port())), talk.lines().join("\n"))?;
        }
        bail!("{difference}{errors}\nthe transcripts are in {}", dir.display());
    }
    first?;
    second?;
    ensure!(!one.lines().is_empty(), "a conversation in which nothing was said");
    Ok(one.lines().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_and_sessions_are_masked() {
        let mut talk = Talk::new("127.0.0.1:1".parse().unwrap());
        talk.masks.push((vec![1, 2, 3, 4, 5, 6, 7, 8], "<session 1>".to_owned()));
        let mut bytes = vec![0, 9];
        bytes.extend(talk.now_ms.to_be_bytes());
        bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3]);
        assert_eq!(talk.masked(&bytes), "0009<time><session 1>010203");
        bytes[7] ^= 1;
        assert_ne!(talk.masked(&bytes), "", "another minute is masked too");
        bytes[4] ^= 0x80;
        assert!(!talk.masked(&bytes).contains("time"), "another year is not");
    }

    #[test]
    fn children_are_sorted_and_the_stat_behind_them_is_kept() {
        let body = Body::new().texts(&["b", "a"]).raw(&[7, 7]).0;
        assert_eq!(sorted_body(12, &body).unwrap(), (vec!["a".to_owned(), "b".to_owned()], &[7_u8, 7][..]));
        assert!(sorted_body(4, &body).is_none());
    }

    #[test]
    fn the_first_difference_is_found() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (one, other) = (lines(&["== p", "a", "b"]), lines(&["== p", "a"]));
        assert!(differences(("x", &one), ("y", &one)).is_none());
        let told = differences(("x", &one), ("y", &other)).unwrap();
        assert!(told.contains("== p, line 2") && told.contains("(nothing more)"), "{told}");
    }
}
