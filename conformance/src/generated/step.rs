//! Steps of a generated conversation: one line of text each, so that a difference can be kept as a script.
//!
//! ```text
//! a connect
//! a: create /r null open 0; get /r watch
//! b: multi { set /r 7 -1, check /r 9 }
//! a resume
//! ```
//!
//! A line of requests is a burst: the client sends them all, and then waits for the answers. [`Request::encode`] has
//! the words.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::script::{Body, OPEN, create_acl, multi, path, path_version, set, set_acl, watch};

/// What a client does in one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The client: a letter.
    pub client: char,
    /// What it does.
    pub what: What,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A new session, where the client has none.
    Connect,
    /// Ends the connection; the session lives on.
    Drop,
    /// Comes back to its session, with its old connection still there or not.
    Resume,
    /// Drops the connection, asks for the session with a wrong password, and is refused.
    ResumeWrong,
    /// Drops the connection, and asks for the session having seen a zxid that is still to come.
    ResumeAhead,
    /// Closes the session.
    Close,
    /// Lets the session run out of time, with a connection that says nothing.
    Expire,
    /// Lets the session run out of time without a connection.
    ExpireAway,
    /// A burst of requests.
    Ask(Vec<Request>),
}

/// The words of [`What`], but for a burst.
const PLAIN: &[(&str, What)] = &[
    ("connect", What::Connect),
    ("drop", What::Drop),
    ("resume", What::Resume),
    ("resume-wrong", What::ResumeWrong),
    ("resume-ahead", What::ResumeAhead),
    ("close", What::Close),
    ("expire", What::Expire),
    ("expire-away", What::ExpireAway),
];

/// A request: a word, its arguments, and the requests inside of a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The word and its arguments; none has a blank in it.
    pub words: Vec<String>,
    /// The requests inside.
    pub inner: Vec<Self>,
}

/// An ACL: permissions, scheme, id.
pub type Acl = &'static [(i32, &'static str, &'static str)];

/// The ACLs by name. `a:a` and `b:e` are identities of the clients.
pub const ACLS: &[(&str, Acl)] = &[
    ("open", OPEN),
    ("creator", &[(31, "auth", "")]),
    ("read-or-creator", &[(1, "world", "anyone"), (31, "auth", "")]),
    ("all-but-read", &[(30, "world", "anyone"), (1, "digest", "a:FZUFAfsfTfr1dDFLtmb0a6FzeWg=")]),
    ("ip", &[(31, "ip", "127.0.0.0/8")]),
    ("elsewhere", &[(31, "ip", "10.0.0.0/8"), (1, "world", "anyone")]),
    ("no-delete", &[(23, "world", "anyone")]),
    ("only-admin", &[(16, "world", "anyone")]),
    ("nobody", &[(0, "world", "anyone")]),
    ("twice", &[(31, "world", "anyone"), (1, "world", "anyone"), (31, "world", "anyone")]),
    ("wrong-id", &[(31, "world", "everyone")]),
    ("wrong-scheme", &[(31, "nothing", "x")]),
    ("super", &[(31, "super", "")]),
    ("empty", &[]),
];

impl Request {
    /// A request without arguments that hold requests.
    pub fn new(words: &[&str]) -> Self {
        Self { words: words.iter().map(|it| (*it).to_owned()).collect(), inner: Vec::new() }
    }

    /// A request that holds others.
    pub fn of(word: &str, inner: Vec<Self>) -> Self {
        Self { words: vec![word.to_owned()], inner }
    }

    /// The word.
    pub fn word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn arg(&self, at: usize) -> Result<&str> {
        self.words.get(at).map(String::as_str).with_context(|| format!("`{self}` lacks argument {at}"))
    }

    fn number<N: FromStr>(&self, at: usize) -> Result<N> {
        self.arg(at)?.parse().ok().with_context(|| format!("`{self}`: argument {at} is not a number in its range"))
    }

    fn acl(&self, at: usize) -> Result<Acl> {
        let name = self.arg(at)?;
        let found = ACLS.iter().find(|(known, _)| *known == name);
        found.map(|(_, acl)| *acl).with_context(|| format!("`{self}`: no ACL is called {name}"))
    }

    /// `null`, a number of bytes, or `=` and the text itself.
    fn data(&self, at: usize) -> Result<Option<Vec<u8>>> {
        Ok(match self.arg(at)? {
            "null" => None,
            text => match text.strip_prefix('=') {
                Some(text) => Some(text.as_bytes().to_vec()),
                None => Some(vec![b'd'; self.number(at)?]),
            },
        })
    }

    /// Paths by comma; `-` for none.
    fn list(&self, at: usize) -> Result<Vec<&str>> {
        Ok(match self.arg(at)? {
            "-" => Vec::new(),
            text => text.split(',').collect(),
        })
    }

    /// The opcode and the record. `seen` is the last zxid that the client has seen.
    pub fn encode(&self, seen: i64) -> Result<(i32, Vec<u8>)> {
        let create = |op: i32| -> Result<(i32, Vec<u8>)> {
            Ok((op, create_acl(self.arg(1)?, self.data(2)?.as_deref(), self.acl(3)?, self.number(4)?)))
        };
        let read = |op: i32| -> Result<(i32, Vec<u8>)> { Ok((op, watch(self.arg(1)?, self.words.get(2).is_some()))) };
        let of_path = |op: i32| -> Result<(i32, Vec<u8>)> { Ok((op, path(self.arg(1)?))) };
        let path_number = |op: i32| -> Result<(i32, Vec<u8>)> { Ok((op, path_version(self.arg(1)?, self.number(2)?))) };
        let inside = |op: i32| -> Result<(i32, Vec<u8>)> {
            Ok((op, multi(&self.inner.iter().map(|it| it.encode(seen)).collect::<Result<Vec<_>>>()?)))
        };
        let set_watches = |op: i32, lists: usize| -> Result<(i32, Vec<u8>)> {
            let back: i64 = self.number(1)?;
            let body = Body::new().long(seen - back);
            let body = (2..2 + lists).try_fold(body, |body, at| anyhow::Ok(body.texts(&self.list(at)?)))?;
            Ok((op, body.0))
        };
        match self.word() {
            "create" => create(1),
            "create2" => create(15),
            "container" => create(19),
            "ttl" => Ok((21, Body::new().raw(&create(21)?.1).long(self.number(5)?).0)),
            "delete" => path_number(2),
            "check" => path_number(13),
            "set" => Ok((5, set(self.arg(1)?, self.data(2)?.as_deref(), self.number(3)?))),
            "set-acl" => Ok((7, set_acl(self.arg(1)?, self.acl(2)?, self.number(3)?))),
            "exists" => read(3),
            "get" => read(4),
            "children" => read(8),
            "children2" => read(12),
            "acl" => of_path(6),
            "sync" => of_path(9),
            "ephemerals" => of_path(103),
            "count" => of_path(104),
            "multi" => inside(14),
            "multi-read" => inside(22),
            "check-watches" => path_number(17),
            "remove-watches" => path_number(18),
            "add-watch" => path_number(106),
            "set-watches" => set_watches(101, 3),
            "set-watches2" => set_watches(105, 5),
            "who-am-i" => Ok((107, Vec::new())),
            "auth" => Ok((100, Body::new().int(0).text(self.arg(1)?).buffer(self.data(2)?.as_deref()).0)),
            "op" => Ok((self.number(1)?, Vec::new())),
            // What it registers is known when it is sent.
            "rewatch" => Ok((105, Vec::new())),
            _ => bail!("`{self}`: no request has this word"),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))?;
        if matches!(self.word(), "multi" | "multi-read") {
            let inner: Vec<String> = self.inner.iter().map(ToString::to_string).collect();
            let inner = inner.join(", ");
            let blank = if inner.is_empty() { "" } else { " " };
            write!(f, " {{{blank}{inner} }}")?;
        }
        Ok(())
    }
}

impl FromStr for Request {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (head, inner) = match text.split_once('{') {
            Some((head, tail)) => {
                let tail = tail.trim().strip_suffix('}').with_context(|| format!("`{text}` lacks a `}}`"))?;
                let parts = tail.split(", ").map(str::trim).filter(|it| !it.is_empty());
                (head, parts.map(str::parse).collect::<Result<Vec<_>>>()?)
            }
            None => (text, Vec::new()),
        };
        let words: Vec<String> = head.split_whitespace().map(str::to_owned).collect();
        ensure!(!words.is_empty(), "`{text}` is no request");
        let request = Self { words, inner };
        request.encode(0)?;
        Ok(request)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let What::Ask(requests) = &self.what {
            let requests: Vec<String> = requests.iter().map(ToString::to_string).collect();
            return write!(f, "{}: {}", self.client, requests.join("; "));
        }
        let word = PLAIN.iter().find(|(_, what)| *what == self.what).map_or("", |(word, _)| word);
        write!(f, "{} {word}", self.client)
    }
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let line = line.trim();
        let client = line.chars().next().context("an empty line is no step")?;
        let rest = &line[client.len_utf8()..];
        let what = match rest.strip_prefix(':') {
            Some(requests) => What::Ask(requests.split("; ").map(str::parse).collect::<Result<_>>()?),
            None => {
                let found = PLAIN.iter().find(|(word, _)| *word == rest.trim());
                found.with_context(|| format!("`{line}`: nothing that a client can do"))?.1.clone()
            }
        };
        Ok(Self { client, what })
    }
}

/// Reads a script: a step a line; empty lines and those behind `#` are skipped.
pub fn parse(text: &str) -> Result<Vec<Step>> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::parse).collect()
}

/// Writes a script, as [`parse`] reads it.
pub fn print(steps: &[Step]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_it_was_written() {
        let text = "\
a connect
a: create /r null open 0; ttl /r/t 7 creator 5 100; get /r watch
b resume-wrong
b: multi { set /r =count=5 -1, check /r 9 }; multi { }; multi-read { get /r, children / }
a: set-watches2 3 /r,/r/x - / - -; rewatch
c expire-away
";
        let steps = parse(text).unwrap();
        assert_eq!(steps.len(), 6);
        assert_eq!(print(&steps), text);
        assert!(parse("a: get").is_err() && parse("a fly").is_err() && parse("a: set /r x -1").is_err());
    }

    #[test]
    fn requests_have_the_bytes_of_their_records() {
        let bytes = |text: &str| text.parse::<Request>().unwrap().encode(100).unwrap();
        assert_eq!(bytes("set /r =ab -1"), (5, set("/r", Some(b"ab"), -1)));
        assert_eq!(bytes("exists /r watch"), (3, watch("/r", true)));
        assert_eq!(
            bytes("set-watches 4 /r - /x,/y"),
            (101, Body::new().long(96).texts(&["/r"]).texts(&[]).texts(&["/x", "/y"]).0)
        );
        assert_eq!(bytes("multi { delete /r 3 }"), (14, multi(&[(2, path_version("/r", 3))])));
    }
}
