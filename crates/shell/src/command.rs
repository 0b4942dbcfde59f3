//! The commands: their names, usages and flags ([`SPECS`]), and a line's words as a typed [`Command`].
//!
//! Everything that can be said without a server is said here, in Apache's words where scripts may know them. Source:
//! `org.apache.zookeeper.cli`, one class a command, and `ZooKeeperMain`.

use std::path::PathBuf;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};

use crate::failure::{Failure, Kind};
use crate::flags::{self, Flag, Group, Parsed};
use crate::path;

/// A command's name, usage and flags.
#[derive(Debug)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// What may follow, as zkCli's usage says it.
    pub usage: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    group: Group,
    /// Does its usage list the flags?
    lists_flags: bool,
}

/// Which watches `removewatches` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchType {
    /// Of `ls -w`.
    Children,
    /// Of `get -w` and `stat -w`.
    Data,
    /// Of `addWatch -m PERSISTENT`.
    Persistent,
    /// Of `addWatch`.
    PersistentRecursive,
    /// All of these.
    Any,
}

/// How `get` prints data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataForm {
    /// As it is.
    Plain,
    /// In base64.
    Base64,
    /// As a table of bytes.
    Hex,
}

/// One of the four numbers of a quota, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `-n`: znodes, soft.
    Count,
    /// `-b`: bytes, soft.
    Bytes,
    /// `-N`: znodes, hard.
    CountHard,
    /// `-B`: bytes, hard.
    BytesHard,
}

/// Who is in the ensemble, for `reconfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// `-add`, `-remove`.
    Change {
        /// Servers to add.
        add: Option<String>,
        /// Ids to remove.
        remove: Option<String>,
    },
    /// `-members`: all of them.
    All(String),
    /// `-file`: all of them, in a file.
    File(PathBuf),
}

/// A line that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the flags and arguments of SPECS")]
pub enum Command {
    AddAuth { scheme: String, auth: Vec<u8> },
    AddWatch { path: String, recursive: bool },
    Close,
    Config { client: bool, watch: bool, stat: bool },
    Connect { hosts: Option<String> },
    Create { path: String, data: Option<Vec<u8>>, acl: Option<String>, kind: CreateKind },
    Delete { path: String, version: Option<i32>, deprecated: bool },
    DeleteAll { path: String, batch: i32 },
    DelQuota { path: String, limit: Option<Limit> },
    Get { path: String, stat: bool, watch: bool, form: DataForm, deprecated: bool },
    GetAcl { path: String, stat: bool },
    GetAllChildrenNumber { path: String },
    GetEphemerals { path: String },
    Help { command: Option<String> },
    History,
    ListQuota { path: String },
    Ls { path: String, stat: bool, watch: bool, recursive: bool, deprecated: bool },
    LsHelp,
    PrintWatches { on: Option<bool> },
    Quit,
    Reconfig { members: Members, version: i64, stat: bool },
    Redo { number: Option<usize> },
    RemoveWatches { path: String, kind: WatchType },
    Set { path: String, data: Vec<u8>, version: Option<i32>, stat: bool },
    SetAcl { path: String, acl: String, version: Option<i32>, stat: bool, recursive: bool },
    SetQuota { path: String, limit: Limit, value: i64 },
    Stat { path: String, watch: bool, deprecated: bool },
    Sync { path: String },
    Version,
    WhoAmI,
}

impl Command {
    /// What zkCli says on standard error before it does the command, however that ends. Source: `retainCompatibility` of
    /// several commands, `ListQuotaCommand`.
    pub fn remark(&self) -> Option<String> {
        let (old, new) = match self {
            Self::Get { deprecated: true, .. } => ("get path [watch]", "get [-s] [-w] path"),
            Self::Ls { deprecated: true, .. } => ("ls path [watch]", "ls [-w] path"),
            Self::Stat { deprecated: true, .. } => ("stat path [watch]", "stat [-w] path"),
            Self::Delete { deprecated: true, .. } => ("delete path [version]", "delete [-v version] path"),
            Self::ListQuota { path } => return Some(format!("absolute path is {}", crate::quota::limits_path(path))),
            _ => return None,
        };
        Some(format!("'{old}' has been deprecated. Please use '{new}' instead."))
    }
}

/// What kind of znode to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CreateKind {
    Plain {
        ephemeral: bool,
        sequential: bool,
    },
    Container,
    /// The time to live in ms.
    Ttl {
        ttl_ms: i64,
        sequential: bool,
    },
}

impl CreateKind {
    /// Does the server add a number to the name?
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::Plain { sequential: true, .. } | Self::Ttl { sequential: true, .. })
    }
}

/// The longest time to live: five bytes of ms. Source: `EphemeralType.TTL`.
const TTL_MS_MAX: i64 = 0x00ff_ffff_ffff;

const fn flag(name: &'static str, about: &'static str) -> Flag {
    Flag { name, value: false, about }
}

const fn valued(name: &'static str, about: &'static str) -> Flag {
    Flag { name, value: true, about }
}

const fn spec(name: &'static str, usage: &'static str, about: &'static str, flags: &'static [Flag]) -> Spec {
    Spec { name, usage, about, flags, group: Group::Free, lists_flags: false }
}

/// All commands, in the order of zkCli's usage.
pub const SPECS: &[Spec] = &[
    spec(
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
        "watch a path until the watch is removed",
        &[valued("m", "PERSISTENT or PERSISTENT_RECURSIVE")],
    ),
    spec("addauth", "scheme auth", "add an identity, as in: addauth digest user:password", &[]),
    spec("close", "", "end the session", &[]),
    spec(
        "config",
        "[-c] [-w] [-s]",
        "the ensemble's configuration",
        &[flag("s", "stats"), flag("w", "watch"), flag("c", "client connection string")],
    ),
    spec("connect", "host:port", "open a new session, here or elsewhere", &[]),
    spec(
        "create",
        "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        "create a znode",
        &[flag("e", "ephemeral"), flag("s", "sequential"), flag("c", "container"), valued("t", "ttl")],
    ),
    spec("delete", "[-v version] path", "delete a znode that has no children", &[valued("v", "version")]),
    spec("deleteall", "path [-b batch size]", "delete a znode and all below it", &[valued("b", "batch size")]),
    Spec {
        group: Group::AtMostOne,
        ..spec("delquota", "[-n|-b|-N|-B] path", "delete a quota, or one of its limits", DELETE_QUOTA)
    },
    Spec {
        lists_flags: true,
        ..spec(
            "get",
            "[-s] [-w] [-b] [-x] path",
            "a znode's data",
            &[
                flag("s", "Print znode stats additionally"),
                flag("w", "Watch for changes on the znode"),
                flag("b", "Output data in base64 format"),
                flag("x", "Output data in hexdump format"),
            ],
        )
    },
    spec("getAcl", "[-s] path", "who may do what", &[flag("s", "stats")]),
    spec("getAllChildrenNumber", "path", "how many znodes are below a path", &[]),
    spec("getEphemerals", "path", "this session's ephemerals, all or below a path", &[]),
    spec("help", "[command]", "this list, or more about one command", &[]),
    spec("history", "", "the last commands with their numbers", &[]),
    spec("listquota", "path", "a quota and what is used of it", &[]),
    spec(
        "ls",
        "[-s] [-w] [-R] path",
        "a znode's children",
        &[flag("?", "help"), flag("s", "stat"), flag("w", "watch"), flag("R", "recurse")],
    ),
    spec("printwatches", "on|off", "print watch events, or don't", &[]),
    spec("quit", "", "leave", &[]),
    spec(
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | [-add \
         serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        "change who is in the ensemble",
        &[
            flag("s", "stats"),
            valued("v", "required current config version"),
            valued("file", "path of config file to parse for membership"),
            valued("members", "comma-separated list of config strings for non-incremental reconfig"),
            valued("add", "comma-separated list of config strings for new servers"),
            valued("remove", "comma-separated list of server IDs to remove"),
        ],
    ),
    spec("redo", "cmdno", "a command of the history again", &[]),
    spec(
        "removewatches",
        "path [-c|-d|-a] [-l]",
        "remove watches of this session",
        &[
            flag("c", "child watcher type"),
            flag("d", "data watcher type"),
            flag("p", "persistent watcher type"),
            flag("r", "persistent recursive watcher type"),
            flag("a", "any watcher type"),
            flag("l", "remove locally when there is no server connection"),
        ],
    ),
    Spec {
        lists_flags: true,
        ..spec(
            "set",
            "path data [-s] [-v version] [-b]",
            "replace a znode's data",
            &[
                flag("s", "Print znode stats additionally"),
                valued("v", "Set with an expected version"),
                flag("b", "Supply data in base64 format"),
            ],
        )
    },
    spec(
        "setAcl",
        "[-s] [-v version] [-R] path acl",
        "say who may do what",
        &[flag("s", "stats"), valued("v", "version"), flag("R", "recursive")],
    ),
    Spec {
        group: Group::One,
        ..spec("setquota", "-n|-b|-N|-B val path", "limit the znodes or bytes below a path", SET_QUOTA)
    },
    spec("stat", "[-w] path", "a znode's Stat", &[flag("w", "watch")]),
    spec("sync", "path", "let this server catch up with the leader", &[]),
    spec("version", "", "this program's version", &[]),
    spec("whoami", "", "the identities of this connection", &[]),
];

const SET_QUOTA: &[Flag] = &[
    valued("n", "num soft quota"),
    valued("b", "bytes soft quota"),
    valued("N", "num hard quota"),
    valued("B", "bytes hard quota"),
];
const DELETE_QUOTA: &[Flag] = &[
    flag("n", "num soft quota"),
    flag("b", "bytes soft quota"),
    flag("N", "num hard quota"),
    flag("B", "bytes hard quota"),
];
const LIMITS: [(&str, Limit); 4] =
    [("n", Limit::Count), ("b", Limit::Bytes), ("N", Limit::CountHard), ("B", Limit::BytesHard)];

/// Commands of zkCli that are spelled in another way too: 3.10's, and what people type.
const OTHER_NAMES: &[(&str, &str)] = &[("exit", "quit")];

impl Spec {
    /// The command with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        let name = OTHER_NAMES.iter().find(|(it, _)| *it == name).map_or(name, |(_, name)| name);
        SPECS.iter().find(|it| it.name == name)
    }

    /// What zkCli prints when a command's words don't fit. Source: `CliCommand.getUsageStr`.
    pub fn usage_text(&self) -> String {
        let mut text = format!("{} {}", self.name, self.usage);
        if self.lists_flags {
            text.push('\n');
            text.push_str(&self.flag_table());
        }
        text
    }

    /// The flags with what they do, one a line. Source: commons-cli's `HelpFormatter.printOptions`.
    pub fn flag_table(&self) -> String {
        let mut flags: Vec<&Flag> = self.flags.iter().collect();
        // commons-cli sorts without regard to case.
        flags.sort_by_key(|it| it.name.to_lowercase());
        let left = |it: &Flag| format!(" -{}{}", it.name, if it.value { " <arg>" } else { "" });
        let width = flags.iter().map(|it| left(it).len()).max().unwrap_or(0) + 3;
        flags.iter().map(|it| format!("{:<width$}{}", left(it), it.about) + "\n").collect()
    }

    fn misuse(&self) -> Failure {
        Failure::usage(self.usage_text())
    }
}

/// What the words of a line ask for. There is at least one word.
pub fn parse(words: &[String]) -> Result<Command, Failure> {
    let Some((name, rest)) = words.split_first() else {
        return Err(Failure::usage("No command entered"));
    };
    let Some(spec) = Spec::find(name) else { return Err(unknown(name)) };
    let first = rest.first().cloned();
    match spec.name {
        // Apache does not look at what follows these.
        "close" => return Ok(Command::Close),
        "whoami" => return Ok(Command::WhoAmI),
        "quit" => return Ok(Command::Quit),
        "history" => return Ok(Command::History),
        "help" => return Ok(Command::Help { command: first }),
        "connect" => return Ok(Command::Connect { hosts: first }),
        "printwatches" => return Ok(Command::PrintWatches { on: first.map(|it| it == "on") }),
        "redo" => return redo(first.as_deref()),
        _ => {}
    }
    let parsed = flags::parse(spec.flags, spec.group, rest).map_err(|text| {
        Failure::usage(text).hint(format!("{} {}", spec.name, spec.usage.split(" #").next().unwrap_or_default()))
    })?;
    with_flags(spec, &parsed)
}

fn with_flags(spec: &'static Spec, parsed: &Parsed) -> Result<Command, Failure> {
    let argument = |at: usize| parsed.arguments.get(at).cloned().ok_or_else(|| spec.misuse());
    let path = || argument(0);
    let stat = parsed.has("s");
    let watch = parsed.has("w");
    // `get path watch` of old scripts.
    let deprecated = parsed.arguments.len() > 1;
    Ok(match spec.name {
        "addWatch" => add_watch(spec, parsed)?,
        "addauth" => {
            let scheme = argument(0)?;
            let auth = parsed.arguments.get(1).cloned();
            if auth.is_none() && scheme == "digest" {
                // Apache's client sends null, which servers refuse, and with it the session ends.
                return Err(Failure::usage("the scheme digest needs a user and a password")
                    .hint("addauth digest user:password"));
            }
            Command::AddAuth { scheme, auth: auth.unwrap_or_default().into_bytes() }
        }
        "config" => Command::Config { client: parsed.has("c"), watch, stat },
        "create" => create(spec, parsed)?,
        "delete" => Command::Delete {
            path: path()?,
            version: match (version(parsed)?, parsed.arguments.get(1)) {
                (None, Some(text)) => Some(number(text, "the version")?),
                (version, _) => version,
            },
            deprecated,
        },
        "deleteall" => Command::DeleteAll {
            path: path()?,
            batch: match parsed.value("b") {
                None => 1000,
                Some(text) => text.parse().map_err(|_| Failure::usage("-b argument must be an int value"))?,
            },
        },
        "delquota" => Command::DelQuota {
            path: path()?,
            limit: LIMITS.iter().find(|(name, _)| parsed.has(name)).map(|(_, limit)| *limit),
        },
        "get" => Command::Get {
            path: path()?,
            stat,
            watch: watch || deprecated,
            form: match (parsed.has("x"), parsed.has("b")) {
                (true, _) => DataForm::Hex,
                (_, true) => DataForm::Base64,
                _ => DataForm::Plain,
            },
            deprecated,
        },
        "getAcl" => Command::GetAcl { path: path()?, stat },
        "getAllChildrenNumber" => Command::GetAllChildrenNumber { path: path()? },
        "getEphemerals" => Command::GetEphemerals { path: path().unwrap_or_else(|_| "/".to_owned()) },
        "listquota" => Command::ListQuota { path: path()? },
        "ls" if parsed.has("?") => Command::LsHelp,
        "ls" => Command::Ls { path: path()?, stat, watch: watch || deprecated, recursive: parsed.has("R"), deprecated },
        "reconfig" => reconfig(spec, parsed)?,
        "removewatches" => Command::RemoveWatches {
            path: path()?,
            kind: [
                ("c", WatchType::Children),
                ("d", WatchType::Data),
                ("p", WatchType::Persistent),
                ("r", WatchType::PersistentRecursive),
            ]
            .into_iter()
            .find(|(name, _)| parsed.has(name))
            .map_or(WatchType::Any, |(_, kind)| kind),
        },
        "set" => set(parsed, path()?, argument(1)?)?,
        "setAcl" => Command::SetAcl {
            path: path()?,
            acl: argument(1)?,
            version: version(parsed)?,
            stat,
            recursive: parsed.has("R"),
        },
        "setquota" => set_quota(spec, parsed)?,
        "stat" => Command::Stat { path: path()?, watch: watch || deprecated, deprecated },
        "sync" => Command::Sync { path: path()? },
        "version" if parsed.arguments.is_empty() => Command::Version,
        _ => return Err(spec.misuse()),
    })
}

fn add_watch(spec: &Spec, parsed: &Parsed) -> Result<Command, Failure> {
    let [path] = parsed.arguments.as_slice() else { return Err(spec.misuse()) };
    let recursive = match parsed.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => true,
        Some("PERSISTENT") => false,
        Some(_) => return Err(spec.misuse()),
    };
    Ok(Command::AddWatch { path: path.clone(), recursive })
}

fn create(spec: &Spec, parsed: &Parsed) -> Result<Command, Failure> {
    let mut arguments = parsed.arguments.iter().cloned();
    let path = arguments.next().ok_or_else(|| spec.misuse())?;
    let [ephemeral, sequential, container, timed] = ["e", "s", "c", "t"].map(|it| parsed.has(it));
    if container && (ephemeral || sequential) {
        let text = "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.";
        return Err(Failure::usage(text));
    }
    let ttl_ms = match parsed.value("t") {
        Some(text) => text.parse().map_err(|_| Failure::usage("-t argument must be a long value"))?,
        None => 0,
    };
    if timed && ephemeral {
        return Err(Failure::usage("TTLs cannot be used with Ephemeral znodes"));
    }
    if timed && container {
        return Err(Failure::usage("TTLs cannot be used with Container znodes"));
    }
    if timed && !(1..=TTL_MS_MAX).contains(&ttl_ms) {
        return Err(Failure::usage(format!("ttl must be positive and cannot be larger than: {TTL_MS_MAX}"))
            .hint("the time to live is in milliseconds"));
    }
    let kind = if container {
        CreateKind::Container
    } else if timed {
        CreateKind::Ttl { ttl_ms, sequential }
    } else {
        CreateKind::Plain { ephemeral, sequential }
    };
    Ok(Command::Create { path, data: arguments.next().map(String::into_bytes), acl: arguments.next(), kind })
}

fn set(parsed: &Parsed, path: String, data: String) -> Result<Command, Failure> {
    let data = if parsed.has("b") {
        base64(&data).map_err(|e| Failure::usage(format!("the data is not base64: {e}")))?
    } else {
        data.into_bytes()
    };
    Ok(Command::Set { path, data, version: version(parsed)?, stat: parsed.has("s") })
}

/// As Java's decoder takes it: padded as it must be or not at all, and whatever the bits are that stand for nothing.
fn base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let padding =
        if text.ends_with('=') { DecodePaddingMode::RequireCanonical } else { DecodePaddingMode::RequireNone };
    let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(padding);
    GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(text)
}

fn set_quota(spec: &Spec, parsed: &Parsed) -> Result<Command, Failure> {
    let path = parsed.arguments.first().cloned().ok_or_else(|| spec.misuse())?;
    let given = LIMITS.iter().find_map(|(name, limit)| Some((*limit, parsed.value(name)?)));
    let (limit, text) = given.ok_or_else(|| spec.misuse())?;
    if path.starts_with("/zookeeper/quota") {
        return Err(Failure::usage("cannot set a quota under the path: /zookeeper/quota"));
    }
    let bad = || Failure::usage("NumberFormatException happens when parsing the option value");
    let counts = matches!(limit, Limit::Count | Limit::CountHard);
    let value = if counts {
        i64::from(text.parse::<i32>().map_err(|_| bad())?)
    } else {
        text.parse::<i64>().map_err(|_| bad())?
    };
    if counts && value <= 0 {
        return Err(Failure::usage("the num quota must be greater than zero"));
    }
    if value < 0 {
        return Err(Failure::usage("the bytes quota must be greater than or equal to zero"));
    }
    Ok(Command::SetQuota { path, limit, value })
}

fn reconfig(spec: &Spec, parsed: &Parsed) -> Result<Command, Failure> {
    let [file, members, add, remove] = ["file", "members", "add", "remove"].map(|it| parsed.has(it));
    if !(file || members || add || remove) {
        return Err(spec.misuse());
    }
    let version = match parsed.value("v") {
        None => -1,
        Some(text) => i64::from_str_radix(text, 16)
            .map_err(|_| Failure::usage("-v must be followed by a long (configuration version)"))?,
    };
    if (file || members) && (add || remove) {
        return Err(Failure::usage(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes \
             is not allowed)",
        ));
    }
    if file && members {
        return Err(Failure::usage("Can't use -file and -members together (conflicting non-incremental modes)"));
    }
    let lower = |name: &str| parsed.value(name).map(str::to_lowercase);
    let members = match (parsed.value("file"), lower("members")) {
        (Some(file), _) => Members::File(PathBuf::from(file)),
        (None, Some(members)) => Members::All(members),
        (None, None) => Members::Change { add: lower("add"), remove: lower("remove") },
    };
    Ok(Command::Reconfig { members, version, stat: parsed.has("s") })
}

fn redo(number: Option<&str>) -> Result<Command, Failure> {
    let Some(text) = number else { return Ok(Command::Redo { number: None }) };
    let number: i32 = number_of(text).ok_or_else(|| Failure::usage(format!("{text} is no number of a command")))?;
    match usize::try_from(number) {
        Ok(number) => Ok(Command::Redo { number: Some(number) }),
        Err(_) => Err(Failure::usage("Command index out of range")),
    }
}

fn number_of(text: &str) -> Option<i32> {
    match text.strip_prefix("0x") {
        Some(hex) => i32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `-v`, where it was given.
fn version(parsed: &Parsed) -> Result<Option<i32>, Failure> {
    parsed.value("v").map(|text| number(text, "-v")).transpose()
}

fn number(text: &str, what: &str) -> Result<i32, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("{what} must be a number from -1 to {}, not {text}", i32::MAX)))
}

fn unknown(name: &str) -> Failure {
    let text = format!("Command not found: Command not found {name}");
    let failure = Failure::new(Kind::UnknownCommand, text);
    match nearest(name) {
        Some(near) => failure.hint(format!("did you mean `{near}`? `help` lists all commands")),
        None => failure.hint("`help` lists all commands"),
    }
}

/// The command that was probably meant: the one with the fewest changed letters, if they are few.
fn nearest(name: &str) -> Option<&'static str> {
    let known = [("rmr", "deleteall"), ("ls2", "ls"), ("rm", "delete"), ("cat", "get"), ("mkdir", "create")];
    if let Some((_, near)) = known.iter().find(|(it, _)| *it == name) {
        return Some(near);
    }
    let lower = name.to_lowercase();
    let distances = SPECS.iter().map(|it| (distance(&lower, &it.name.to_lowercase()), it.name));
    distances.min().filter(|(distance, near)| *distance <= 1 + near.len() / 4).map(|(_, near)| near)
}

/// Letters to change, add or leave out (Levenshtein); words longer than any command are cut.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(32).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

/// Refuses a path that can't be.
pub fn check_path(path: &str, sequential: bool) -> Result<(), Failure> {
    path::validate(path, sequential).map_err(|text| {
        let failure = Failure::usage(text);
        if path.starts_with('/') { failure } else { failure.hint("paths begin at the root: /a, /a/b") }
    })
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
