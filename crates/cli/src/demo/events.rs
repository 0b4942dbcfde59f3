//! What a demo tells, as text for people or as JSON lines for scripts.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::member::SUPER_PASSWORD;

/// Something to be told.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Began {
        servers: u8,
        observers: u8,
        dir: &'a Path,
    },
    Started {
        id: u8,
        pid: u32,
        client: SocketAddr,
        log: PathBuf,
    },
    State {
        id: u8,
        state: &'static str,
    },
    /// All serve for the first time.
    Ready {
        took: Duration,
        hosts: String,
        cfg: PathBuf,
        /// The line `server.N` of one more, and its file; nobody has started it.
        more: &'a str,
        more_cfg: PathBuf,
    },
    /// Another one leads, or the first one.
    Leads {
        id: u8,
        pid: u32,
        again: Duration,
    },
    Ended {
        id: u8,
        how: String,
        again: Duration,
    },
    Stopping,
    /// The directory is still there if it is named.
    Stopped {
        dir: Option<PathBuf>,
    },
}

/// Where it is told, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    as_json: bool,
}

impl Told {
    pub(super) fn new(as_json: bool) -> Self {
        Self { as_json }
    }

    pub(super) fn tell(self, event: &Event<'_>) {
        let text = if self.as_json { format!("{}\n", event.json()) } else { event.text() };
        // Nobody who reads any more is no reason to end.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

impl Event<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Began { servers, observers, dir } => {
                json!({"event": "began", "servers": servers, "observers": observers, "dir": dir})
            }
            Self::Started { id, pid, client, log } => {
                json!({"event": "started", "id": id, "pid": pid, "client": client.to_string(), "log": log})
            }
            Self::State { id, state } => json!({"event": "state", "id": id, "state": state}),
            Self::Ready { took, hosts, cfg, more, more_cfg } => json!({
                "event": "ready", "took_ms": took.as_millis() as u64, "hosts": hosts, "cfg": cfg, "more": more,
                "more_cfg": more_cfg,
            }),
            Self::Leads { id, pid, .. } => json!({"event": "leads", "id": id, "pid": pid}),
            Self::Ended { id, how, again } => {
                json!({"event": "ended", "id": id, "how": how, "again_after_s": again.as_secs()})
            }
            Self::Stopping => json!({"event": "stopping"}),
            Self::Stopped { dir } => json!({"event": "stopped", "dir": dir}),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Began { servers, observers, dir } => {
                let observers = match observers {
                    0 => String::new(),
                    1 => " and an observer".to_owned(),
                    n => format!(" and {n} observers"),
                };
                format!(
                    "an ensemble of {servers} servers{observers} on this machine; its files are in {}\n",
                    dir.display()
                )
            }
            Self::Started { id, pid, client, .. } => format!("  server.{id}  pid {pid:<8} clients at {client}\n"),
            Self::State { id, state } => format!("  server.{id}  {state}\n"),
            Self::Ready { took, hosts, cfg, more, more_cfg } => format!(
                "ready after {:.1} s. In another terminal:\n  \
                 ostler status -f {cfg}\n      who leads, who follows, who is behind, while it changes\n  \
                 ostler shell -s {hosts}\n      a prompt: create /greeting hello; get -w /greeting\n  \
                 ostler server {more}\n  \
                 ostler grow {cfg} --auth digest:super:{SUPER_PASSWORD} --add '{line}'\n      \
                 one more server, and the command that makes it a member; stop it before the demo\n\
                 Ctrl-C ends the ensemble.\n",
                took.as_secs_f64(),
                cfg = cfg.display(),
                more = more_cfg.display(),
                line = more.trim_start_matches("server."),
            ),
            Self::Leads { id, pid, again } => format!(
                "server.{id} leads. Kill it, and see the others elect another:\n  \
                 kill -9 {pid}\n      it is started again after {} s; kill -STOP and kill -CONT are worth a try, too\n",
                again.as_secs()
            ),
            Self::Ended { id, how, again } => {
                format!("  server.{id}  ended: {how}; it is started again after {} s\n", again.as_secs())
            }
            Self::Stopping => "stopping\n".to_owned(),
            Self::Stopped { dir: Some(dir) } => format!("stopped; the files are still in {}\n", dir.display()),
            Self::Stopped { dir: None } => "stopped; the files are gone\n".to_owned(),
        }
    }
}
