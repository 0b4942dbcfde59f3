//! Commands, done: each gives an [`Answer`], printed as zkCli prints it or as one JSON object, or a [`Failure`].

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use zookeeper_client::{Acl, AddWatchMode, Client, CreateMode, CreateOptions, EnsembleUpdate, Error, Stat};

use crate::acl;
use crate::command::{Command, CreateKind, DataForm, Members, SPECS, Spec, check_path};
use crate::ensemble;
use crate::failure::{Code, Failure, Kind};
use crate::hosts::Hosts;
use crate::path;
use crate::quota;
use crate::raw::Refusal;
use crate::screen::{Screen, pad};
use crate::session::{Session, WatchKind, settle};
use crate::stat;

/// How long `sync` waits. Source: `cli.SyncCommand`.
const SYNC_LIMIT: Duration = Duration::from_secs(30);
/// What to do where null can't be written.
const NO_SECOND_HINT: &str = "`create path ''` writes empty data by the one that is there; `maxClientCnxns` limits the \
                              connections of this machine";
/// How many commands `history` shows besides itself. Source: `ZooKeeperMain.processZKCmd`.
const HISTORY_SHOWN: usize = 10;
/// How many commands are kept for `history` and `redo`.
const HISTORY_MAX: usize = 10_000;

/// What a command has to say.
#[derive(Debug, Default)]
pub struct Answer {
    /// For standard output.
    pub out: Vec<u8>,
    /// For standard error.
    pub err: String,
    /// The same for programs.
    pub json: Value,
    /// Everything is said already.
    pub(crate) silent: bool,
}

impl Answer {
    /// Of a command that printed as it went.
    pub fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    fn text(text: impl Into<String>, json: Value) -> Self {
        Self { out: text.into().into_bytes(), json, ..Self::default() }
    }

    fn json(json: Value) -> Self {
        Self { json, ..Self::default() }
    }

    fn line(text: impl std::fmt::Display, json: Value) -> Self {
        Self::text(format!("{text}\n"), json)
    }
}

/// What all commands share.
#[derive(Debug)]
pub struct Shell {
    pub(crate) session: Session,
    pub(crate) screen: Arc<Screen>,
    /// Are watch events printed?
    pub(crate) print_watches: Arc<AtomicBool>,
    /// How long one command may take.
    pub(crate) request_timeout: Option<Duration>,
    /// The lines so far, with this one at the end.
    pub(crate) history: Vec<String>,
    /// How many of the oldest lines are forgotten.
    pub(crate) forgotten: usize,
    /// `quit` was said.
    pub(crate) quits: bool,
    zone: TimeZone,
}

impl Shell {
    /// One with a session that is not started.
    pub fn new(session: Session, screen: Arc<Screen>, print_watches: Arc<AtomicBool>) -> Self {
        Self {
            session,
            screen,
            print_watches,
            request_timeout: None,
            history: Vec::new(),
            forgotten: 0,
            quits: false,
            zone: TimeZone::system(),
        }
    }

    /// The number of the next command.
    pub fn next_number(&self) -> usize {
        self.forgotten + self.history.len()
    }

    /// Keeps a line for `history` and `redo`.
    pub fn remember(&mut self, line: &str) {
        if self.history.len() == HISTORY_MAX {
            self.history.remove(0);
            self.forgotten += 1;
        }
        self.history.push(line.to_owned());
    }

    /// Does what the words say and prints what comes of it.
    pub async fn perform(&mut self, words: &[String]) -> Result<(), Failure> {
        let command = crate::command::parse(words)?;
        let name = words.first().map_or("", String::as_str);
        let name = Spec::find(name).map_or(name, |it| it.name);
        let answer = match self.request_timeout {
            None => self.execute(command).await,
            Some(limit) => match tokio::time::timeout(limit, self.execute(command)).await {
                Ok(answer) => answer,
                Err(_) => Err(Failure::code(Code::OPERATION_TIMEOUT, "")
                    .hint(format!("zookeeper.request.timeout is {} ms", limit.as_millis()))),
            },
        };
        // Events that came before the answer are printed before it.
        settle().await;
        self.screen.end_progress();
        let answer = answer?;
        if answer.silent {
        } else if self.screen.json {
            let mut json = answer.json;
            if !json.is_object() {
                json = json!({});
            }
            json["command"] = json!(name);
            self.screen.json_line(&json)?;
        } else {
            if !answer.err.is_empty() {
                self.screen.err(&answer.err);
            }
            self.screen.out(&answer.out)?;
        }
        self.screen.flush()
    }

    async fn execute(&mut self, command: Command) -> Result<Answer, Failure> {
        match command {
            Command::Help { command } => help(command.as_deref()),
            Command::LsHelp => {
                let flags = Spec::find("ls").map(Spec::flag_table).unwrap_or_default();
                Ok(Answer::text(format!("usage: ls [options] path\n{flags}"), json!({ "usage": "ls [options] path" })))
            }
            Command::History => Ok(self.show_history()),
            Command::PrintWatches { on } => {
                if let Some(on) = on {
                    self.print_watches.store(on, Ordering::Relaxed);
                    return Ok(Answer::json(json!({ "on": on })));
                }
                let on = self.print_watches.load(Ordering::Relaxed);
                Ok(Answer::line(format!("printwatches is {}", if on { "on" } else { "off" }), json!({ "on": on })))
            }
            Command::Quit => {
                self.quits = true;
                Ok(Answer::silent())
            }
            Command::Redo { number } => Box::pin(self.redo(number)).await,
            Command::Version => {
                let version = concat!("3.9.5-ostler-", env!("CARGO_PKG_VERSION"));
                Ok(Answer::line(format!("ZooKeeper CLI version: {version}"), json!({ "version": version })))
            }
            Command::Close => {
                // A session that is not there is said to be missing, as by every other command.
                self.session.client("").await?;
                self.session.close().await;
                Ok(Answer::json(json!({})))
            }
            Command::Connect { hosts } => {
                let hosts = hosts.map(|it| Hosts::parse(&it)).transpose().map_err(Failure::usage)?;
                self.session.close().await;
                self.session.start(hosts);
                self.session.client("").await?;
                Ok(Answer::json(json!({ "server": self.session.hosts().text })))
            }
            Command::AddAuth { scheme, auth } => {
                self.session.add_auth(&scheme, &auth).await?;
                Ok(Answer::json(json!({ "scheme": scheme })))
            }
            other => {
                let path = path_of(&other).to_owned();
                let client = self.session.client(&path).await?;
                // Said before anything is asked, so that it stands there however that ends.
                if let Some(remark) = other.remark().filter(|_| !self.screen.json) {
                    self.screen.err(&format!("{remark}\n"));
                }
                match self.with_client(&client, other).await {
                    Err(failure) => Err(explain(&client, failure, &path).await),
                    done => done,
                }
            }
        }
    }

    async fn with_client(&mut self, client: &Client, command: Command) -> Result<Answer, Failure> {
        match command {
            Command::Get { path, stat, watch, form, .. } => self.get(client, &path, stat, watch, form).await,
            Command::Ls { path, watch, recursive: true, .. } => self.list_tree(client, &path, watch).await,
            Command::Ls { path, stat, watch, .. } => self.ls(client, &path, stat, watch).await,
            Command::Stat { path, watch, .. } => self.stat(client, &path, watch).await,
            Command::Create { path, data, acl, kind } => {
                check_path(&path, kind.is_sequential())?;
                let acl = acl.map(|it| acl::parse(&it)).transpose()?;
                let made = self.create(client, &path, data.as_deref(), acl.as_deref(), kind).await;
                let made = made.map_err(|failure| said_before(failure, &path))?;
                Ok(Answer { err: format!("Created {made}\n"), json: json!({ "path": made }), ..Answer::default() })
            }
            Command::Set { path, data, version, stat } => {
                check_path(&path, false)?;
                let result = client.set_data(&path, &data, version).await;
                let now = result.map_err(|e| Failure::client(&e, &path))?;
                Ok(self.with_stat(&path, stat, &now))
            }
            Command::Delete { path, version, .. } => {
                check_path(&path, false)?;
                delete(client, &path, version).await?;
                Ok(Answer::json(json!({ "path": path })))
            }
            Command::DeleteAll { path, batch } => self.delete_all(client, &path, batch).await,
            Command::GetAcl { path, stat } => {
                check_path(&path, false)?;
                let (list, now) = client.get_acl(&path).await.map_err(|e| Failure::client(&e, &path))?;
                let entries: Vec<Value> = list
                    .iter()
                    .map(|it| json!({ "scheme": it.scheme(), "id": it.id(), "perms": acl::letters(it.permission()) }))
                    .collect();
                let mut text: String = list.iter().map(|it| acl::line(it) + "\n").collect();
                if stat {
                    text += &stat::lines(&now, &self.zone);
                }
                Ok(Answer::text(text, json!({ "path": path, "acl": entries, "stat": stat::json(&now) })))
            }
            Command::SetAcl { path, acl, version, stat, recursive } => {
                let acl = acl::parse(&acl)?;
                if recursive {
                    return self.set_acl_tree(client, &path, &acl, version).await;
                }
                check_path(&path, false)?;
                let now = client.set_acl(&path, &acl, version).await.map_err(|e| Failure::client(&e, &path))?;
                Ok(self.with_stat(&path, stat, &now))
            }
            Command::Sync { path } => sync(client, &path).await,
            Command::GetAllChildrenNumber { path } => {
                check_path(&path, false)?;
                let result = client.count_descendants_number(&path).await;
                let number = result.map_err(|e| Failure::client(&e, &path))?;
                Ok(Answer::line(number, json!({ "path": path, "number": number })))
            }
            Command::GetEphemerals { path } => {
                check_path(&path, false)?;
                // Neither the prefix nor what comes back is moved by a chroot. Source: `ZooKeeper.getEphemerals`.
                let root = client.clone().chroot("/").unwrap_or_else(|same| same);
                let paths = root.list_ephemerals(&path).await.map_err(|e| Failure::client(&e, &path))?;
                Ok(Answer::line(format!("[{}]", paths.join(", ")), json!({ "path": path, "ephemerals": paths })))
            }
            Command::WhoAmI => {
                let users = client.list_auth_users().await.map_err(|e| Failure::client(&e, ""))?;
                let mut text = "Auth scheme: User\n".to_owned();
                for it in &users {
                    let _ = writeln!(text, "{}: {}", it.scheme(), it.user());
                }
                let list: Vec<Value> =
                    users.iter().map(|it| json!({ "scheme": it.scheme(), "user": it.user() })).collect();
                Ok(Answer::text(text, json!({ "users": list })))
            }
            Command::Config { client: short, watch, stat } => self.config(client, short, watch, stat).await,
            Command::Reconfig { members, version, stat } => self.reconfig(client, members, version, stat).await,
            Command::AddWatch { path, recursive } => {
                check_path(&path, false)?;
                let mode = if recursive { AddWatchMode::PersistentRecursive } else { AddWatchMode::Persistent };
                let watcher = client.watch(&path, mode).await.map_err(|e| Failure::client(&e, &path))?;
                self.session.watches().add_persistent(&path, recursive, watcher).await;
                Ok(Answer::json(json!({ "path": path })))
            }
            Command::RemoveWatches { path, kind } => {
                check_path(&path, false)?;
                if self.session.watches().remove(&path, kind).await {
                    Ok(Answer::json(json!({ "path": path })))
                } else {
                    Err(Failure::code(Code::NO_WATCHER, &path))
                }
            }
            Command::ListQuota { path } => quota::list(client, &path).await,
            Command::DelQuota { path, limit } => quota::delete(client, &path, limit).await,
            Command::SetQuota { path, limit, value } => self.set_quota(client, &path, limit, value).await,
            // The others need no session and were done in `execute`.
            _ => Ok(Answer::silent()),
        }
    }

    async fn get(
        &mut self,
        client: &Client,
        path: &str,
        stat: bool,
        watch: bool,
        form: DataForm,
    ) -> Result<Answer, Failure> {
        check_path(path, false)?;
        let failed = |e: Error| Failure::client(&e, path);
        let (data, now) = if watch {
            let (data, now, watcher) = client.get_and_watch_data(path).await.map_err(failed)?;
            self.session.watches().add_once(path, WatchKind::Data, watcher).await;
            (data, now)
        } else {
            client.get_data(path).await.map_err(failed)?
        };
        let null = data.is_empty() && self.is_null(path, true).await;
        let mut json = json!({ "path": path, "stat": stat::json(&now) });
        match String::from_utf8(data.clone()) {
            _ if null => json["data"] = Value::Null,
            Ok(text) if form != DataForm::Base64 => json["data"] = json!(text),
            _ => json["base64"] = json!(STANDARD.encode(&data)),
        }
        let data = if null { Cow::Borrowed(b"null".as_slice()) } else { Cow::Owned(data) };
        let mut out = match form {
            // Java would print U+FFFD for what is no UTF-8; whoever redirects this wants the bytes.
            DataForm::Plain => data.into_owned(),
            DataForm::Base64 => STANDARD.encode(&data).into_bytes(),
            DataForm::Hex => stat::hex_dump(&data).into_bytes(),
        };
        out.push(b'\n');
        if stat {
            out.extend(stat::lines(&now, &self.zone).into_bytes());
        }
        Ok(Answer { out, json, ..Answer::default() })
    }

    /// Is there null where empty data were read? Asked on a connection that knows the difference.
    async fn is_null(&mut self, path: &str, chroot: bool) -> bool {
        let (raw, account) = self.session.raw();
        let path = if chroot { below(&account.hosts.chroot, path) } else { path.to_owned() };
        // Whoever may not ask there sees what there is to see: nothing.
        raw.is_null(&account, &path).await.unwrap_or(false)
    }

    async fn ls(&mut self, client: &Client, path: &str, stat: bool, watch: bool) -> Result<Answer, Failure> {
        check_path(path, false)?;
        let failed = |e: Error| Failure::client(&e, path);
        let (mut names, now) = if watch {
            let (names, now, watcher) = client.get_and_watch_children(path).await.map_err(failed)?;
            self.session.watches().add_once(path, WatchKind::Child, watcher).await;
            (names, now)
        } else {
            client.get_children(path).await.map_err(failed)?
        };
        names.sort();
        let mut text = format!("[{}]\n", names.join(", "));
        if stat {
            text += &stat::lines(&now, &self.zone);
        }
        Ok(Answer::text(text, json!({ "path": path, "children": names, "stat": stat::json(&now) })))
    }

    async fn stat(&mut self, client: &Client, path: &str, watch: bool) -> Result<Answer, Failure> {
        check_path(path, false)?;
        let failed = |e: Error| Failure::client(&e, path);
        let now = if watch {
            let (now, watcher) = client.check_and_watch_stat(path).await.map_err(failed)?;
            self.session.watches().add_once(path, WatchKind::Data, watcher).await;
            now
        } else {
            client.check_stat(path).await.map_err(failed)?
        };
        let now = now.ok_or_else(|| Failure::code(Code::NO_NODE, path))?;
        Ok(Answer::text(stat::lines(&now, &self.zone), json!({ "path": path, "stat": stat::json(&now) })))
    }

    /// Creates a znode; its path, which is longer than the one given where the server adds a number.
    pub(crate) async fn create(
        &mut self,
        client: &Client,
        path: &str,
        data: Option<&[u8]>,
        acl: Option<&[Acl]>,
        kind: CreateKind,
    ) -> Result<String, Failure> {
        let open = zookeeper_client::Acls::anyone_all();
        let ephemeral = matches!(kind, CreateKind::Plain { ephemeral: true, .. });
        let failed = |e: Error| Failure::client(&e, path);
        if data.is_none() && !ephemeral {
            let (raw, account) = self.session.raw();
            let at = below(&account.hosts.chroot, path);
            let made = raw.create(&account, &at, acl.unwrap_or(&open), kind).await;
            let made = made.map_err(|refusal| match refusal {
                Refusal::Said(code) => Failure::code(code, path),
                Refusal::NotOpened => Failure::code(Code::CONNECTION_LOSS, path)
                    .cause("null data need a second connection, and it was not served")
                    .hint(NO_SECOND_HINT),
            })?;
            // So that this session's server, if it is another one, has seen it too.
            if account.hosts.servers.len() > 1 {
                client.sync("/").await.map_err(failed)?;
            }
            return Ok(made.strip_prefix(account.hosts.chroot.as_str()).unwrap_or(&made).to_owned());
        }
        let acls = acl.map_or(open, zookeeper_client::Acls::new);
        let (mode, ttl_ms) = match kind {
            CreateKind::Plain { ephemeral: false, sequential: false } => (CreateMode::Persistent, None),
            CreateKind::Plain { ephemeral: false, sequential: true } => (CreateMode::PersistentSequential, None),
            CreateKind::Plain { ephemeral: true, sequential: false } => (CreateMode::Ephemeral, None),
            CreateKind::Plain { ephemeral: true, sequential: true } => (CreateMode::EphemeralSequential, None),
            CreateKind::Container => (CreateMode::Container, None),
            CreateKind::Ttl { ttl_ms, sequential: false } => (CreateMode::Persistent, Some(ttl_ms)),
            CreateKind::Ttl { ttl_ms, sequential: true } => (CreateMode::PersistentSequential, Some(ttl_ms)),
        };
        let mut options: CreateOptions<'_> = mode.with_acls(acls);
        if let Some(ttl_ms) = ttl_ms {
            options = options.with_ttl(Duration::from_millis(ttl_ms.unsigned_abs()));
        }
        if path == "/" && !kind.is_sequential() {
            // The crate does not ask; servers say this.
            return Err(Failure::client(&Error::NodeExists, path));
        }
        let (_, sequence) = client.create(path, data.unwrap_or_default(), &options).await.map_err(failed)?;
        Ok(if kind.is_sequential() { format!("{path}{sequence}") } else { path.to_owned() })
    }

    async fn config(&mut self, client: &Client, short: bool, watch: bool, stat: bool) -> Result<Answer, Failure> {
        const AT: &str = "/zookeeper/config";
        let failed = |e: Error| Failure::client(&e, AT);
        let (data, now) = if watch {
            let (data, now, watcher) = client.get_and_watch_config().await.map_err(failed)?;
            self.session.watches().add_once(AT, WatchKind::Data, watcher).await;
            (data, now)
        } else {
            client.get_config().await.map_err(failed)?
        };
        let null = data.is_empty() && self.is_null(AT, false).await;
        let text = if null { "null".to_owned() } else { String::from_utf8_lossy(&data).into_owned() };
        let shown = if short { ensemble::client_string(&text) } else { text };
        let mut out = format!("{shown}\n");
        if stat {
            out += &stat::lines(&now, &self.zone);
        }
        Ok(Answer::text(
            out,
            json!({ "config": if null { Value::Null } else { json!(shown) }, "stat": stat::json(&now) }),
        ))
    }

    async fn reconfig(
        &mut self,
        client: &Client,
        members: Members,
        version: i64,
        stat: bool,
    ) -> Result<Answer, Failure> {
        let members = match members {
            Members::File(file) => Members::All(ensemble::members_of(&file)?),
            other => other,
        };
        let update = match &members {
            Members::All(all) => EnsembleUpdate::New { ensemble: Some(all.as_str()).into_iter() },
            Members::Change { add, remove } => EnsembleUpdate::Incremental {
                joinings: add.as_deref().into_iter(),
                leavings: remove.as_deref().into_iter(),
            },
            Members::File(_) => return Err(Failure::usage("no members")),
        };
        let expected = (version != -1).then_some(version);
        let (config, now) = client.update_ensemble(update, expected).await.map_err(|e| Failure::client(&e, ""))?;
        let config = String::from_utf8_lossy(&config);
        let mut out = format!("Committed new configuration:\n{config}\n");
        if stat {
            out += &stat::lines(&now, &self.zone);
        }
        Ok(Answer::text(out, json!({ "config": config, "stat": stat::json(&now) })))
    }

    fn with_stat(&self, path: &str, wanted: bool, now: &Stat) -> Answer {
        let text = if wanted { stat::lines(now, &self.zone) } else { String::new() };
        Answer::text(text, json!({ "path": path, "stat": stat::json(now) }))
    }

    fn show_history(&self) -> Answer {
        let last = self.next_number().saturating_sub(1);
        let first = last.saturating_sub(HISTORY_SHOWN).max(self.forgotten);
        let lines: Vec<(usize, String)> = (first..self.next_number())
            .filter_map(|at| Some((at, without_secrets(self.history.get(at - self.forgotten)?).into_owned())))
            .collect();
        let text: String = lines.iter().map(|(at, line)| format!("{at} - {line}") + "\n").collect();
        let list: Vec<Value> = lines.iter().map(|(at, line)| json!({ "number": at, "line": line })).collect();
        Answer::text(text, json!({ "history": list }))
    }

    async fn redo(&mut self, number: Option<usize>) -> Result<Answer, Failure> {
        let Some(number) = number else { return Ok(Answer::silent()) };
        let this = self.next_number().saturating_sub(1);
        let line = number.checked_sub(self.forgotten).and_then(|at| self.history.get(at)).cloned();
        let Some(line) = line.filter(|_| number < this) else {
            return Err(Failure::usage("Command index out of range").hint("`history` shows the last ones"));
        };
        let words = split(&line)?;
        if words.first().is_some_and(|it| it == "redo") {
            return Err(Failure::usage("No redoing redos"));
        }
        if let Some(last) = self.history.last_mut() {
            last.clone_from(&line);
        }
        self.perform(&words).await?;
        Ok(Answer::silent())
    }
}

/// The words of a line.
pub fn split(line: &str) -> Result<Vec<String>, Failure> {
    crate::words::split(line).map_err(|it| {
        Failure::usage(format!("A quote is not closed: {}", it.0.lines().next().unwrap_or_default()))
            .hint("'…' holds a word with blanks and \" together, \"…\" one with blanks and '")
    })
}

/// Is it a line with a password? The command may stand in quotes, and may be one that is not closed.
pub fn has_secrets(line: &str) -> bool {
    let line = line.trim_start_matches(|c: char| matches!(c, '"' | '\'') || c.is_whitespace());
    line.strip_prefix("addauth").is_some_and(|rest| rest.starts_with(|c: char| !c.is_alphanumeric()))
}

/// A line without the password in it.
pub fn without_secrets(line: &str) -> Cow<'_, str> {
    if !has_secrets(line) {
        return Cow::Borrowed(line);
    }
    match crate::words::split(line).as_deref() {
        Ok([command]) if command == "addauth" => Cow::Borrowed(line),
        Ok([command, scheme]) if command == "addauth" && !scheme.contains(':') => Cow::Borrowed(line),
        Ok([command, scheme, ..]) if command == "addauth" && !scheme.contains(':') => {
            Cow::Owned(format!("addauth {scheme} ******"))
        }
        _ => Cow::Borrowed("addauth ******"),
    }
}

async fn delete(client: &Client, path: &str, version: Option<i32>) -> Result<(), Failure> {
    if path == "/" && client.path() == "/" {
        // The crate does not ask; servers say this.
        return Err(Failure::client(&Error::BadArguments(&""), path));
    }
    client.delete(path, version).await.map_err(|e| Failure::client(&e, path))
}

async fn sync(client: &Client, path: &str) -> Result<Answer, Failure> {
    check_path(path, false)?;
    match tokio::time::timeout(SYNC_LIMIT, client.sync(path)).await {
        Ok(Ok(())) => Ok(Answer::line("Sync is OK", json!({ "path": path }))),
        Ok(Err(e)) => {
            let code = Code::of(&e);
            Err(Failure { text: format!("Sync has failed. rc={}", code.0), ..Failure::code(code, path) })
        }
        Err(_) => Err(Failure::code(Code::OPERATION_TIMEOUT, path)),
    }
}

/// More of what to try, as far as the tree tells.
async fn explain(client: &Client, failure: Failure, asked: &str) -> Failure {
    if failure.zookeeper() != Some(Code::NO_NODE) || failure.hint.is_some() || !asked.starts_with('/') {
        return failure;
    }
    let mut above = path::parent(asked);
    while above != "/" {
        match client.check_stat(above).await {
            Ok(Some(_)) => break,
            Ok(None) => above = path::parent(above),
            Err(_) => return failure,
        }
    }
    if above == "/" && client.path() != "/" && matches!(client.check_stat("/").await, Ok(None)) {
        let chroot = client.path();
        return failure.hint(format!("the chroot {chroot} is not there; create it in a shell without it"));
    }
    let missing = asked.get(above.len()..).unwrap_or_default().trim_start_matches('/');
    let missing = path::join(above, missing.split('/').next().unwrap_or_default());
    if above == path::parent(asked) {
        failure.hint(format!("{above} is there; `ls {above}` shows what is in it"))
    } else {
        failure.hint(format!("{above} is there, {missing} is not; `create {missing}` makes it"))
    }
}

/// Apache says some refusals of a create twice. Source: `cli.CreateCommand`.
fn said_before(mut failure: Failure, path: &str) -> Failure {
    let first = match failure.zookeeper() {
        Some(Code::INVALID_ACL) => Code::INVALID_ACL.exception(path),
        Some(Code(-120)) => "Unable to create ephemeral node on a local session".to_owned(),
        _ => return failure,
    };
    failure.text = format!("{first}\n{}", failure.text);
    failure
}

/// A path with the chroot.
fn below(chroot: &str, path: &str) -> String {
    if path == "/" && !chroot.is_empty() { chroot.to_owned() } else { format!("{chroot}{path}") }
}

fn path_of(command: &Command) -> &str {
    match command {
        Command::AddWatch { path, .. }
        | Command::Create { path, .. }
        | Command::Delete { path, .. }
        | Command::DeleteAll { path, .. }
        | Command::DelQuota { path, .. }
        | Command::Get { path, .. }
        | Command::GetAcl { path, .. }
        | Command::GetAllChildrenNumber { path }
        | Command::GetEphemerals { path }
        | Command::ListQuota { path }
        | Command::Ls { path, .. }
        | Command::RemoveWatches { path, .. }
        | Command::Set { path, .. }
        | Command::SetAcl { path, .. }
        | Command::SetQuota { path, .. }
        | Command::Stat { path, .. }
        | Command::Sync { path } => path,
        _ => "",
    }
}

/// All commands, or one with its flags.
fn help(name: Option<&str>) -> Result<Answer, Failure> {
    if let Some(name) = name {
        let words = [name.to_owned()];
        let Some(spec) = Spec::find(name) else {
            return Err(crate::command::parse(&words).err().unwrap_or_else(|| Failure::new(Kind::Other, name)));
        };
        let text = format!("{} {}\n  {}\n{}", spec.name, spec.usage, spec.about, spec.flag_table());
        return Ok(Answer::text(text, json!({ "name": spec.name, "usage": spec.usage, "about": spec.about })));
    }
    let short = |spec: &Spec| {
        let usage = spec.usage.split(" #").next().unwrap_or_default();
        let usage = if usage.len() > 48 { "…" } else { usage };
        format!("{} {usage}", spec.name)
    };
    let width = SPECS.iter().map(|it| unicode_width::UnicodeWidthStr::width(short(it).as_str())).max().unwrap_or(0);
    let mut text: String = SPECS.iter().map(|it| format!("{}  {}", pad(&short(it), width), it.about) + "\n").collect();
    text += "\n`help command` says more about one. Words with blanks stand in '…' or \"…\". Tab completes commands and paths.\n";
    let list: Vec<Value> =
        SPECS.iter().map(|it| json!({ "name": it.name, "usage": it.usage, "about": it.about })).collect();
    Ok(Answer::text(text, json!({ "commands": list })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_history_shows_a_password() {
        for line in [
            "addauth digest u:p",
            "  addauth\tdigest  u:p x",
            "\"addauth\" digest u:p",
            "'addauth' 'digest' 'u:p'",
            "\"addauth\"digest u:p",
        ] {
            assert!(has_secrets(line), "{line}");
            assert_eq!(without_secrets(line), "addauth digest ******", "{line}");
        }
        for line in [
            "addauth u:p",
            "'addauth' u:p digest",
            "addauth digest 'u:p",
            "'addauth digest u:p",
            "addauth'digest' u:p",
            "'addauth digest u:p'",
            "\"addauth digest\" u:p",
        ] {
            assert!(has_secrets(line), "{line}");
            assert_eq!(without_secrets(line), "addauth ******", "{line}");
        }
        for line in ["ls /a", "addauths digest u:p", "get addauth", "addauth digest", "addauth"] {
            assert_eq!(without_secrets(line), line);
        }
    }
}
