//! Four-letter words: gathers what they tell.
//!
//! What is short is made at once; what may be long is gathered and written piece by piece (`long`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use peer::stats::ResponseSizes;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use zab::quorum_verifier::Role;

use crate::config::Config;
use crate::core::Core;
use crate::disk::directory_bytes;
use crate::four_letter::{self as text, Mode, ProposalSizes, ServerStats, Whitelist, Word};
use crate::member::Member;
use crate::shard_thread::ToShard;

mod environment;
mod long;
mod metrics;
mod out;

pub use out::{Gone, Out};

/// How long the start took, for `mntr`.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartTimes {
    /// Recovery as a whole.
    pub recovery: Duration,
    /// The part of it that read a snapshot.
    pub snapshot: Duration,
    /// The txns that were replayed; `None`: there was nothing to replay them on.
    pub txns: Option<u64>,
}

/// The most words about watches and sessions (`dump`, `wchs`, `wchc`, `wchp`) that are answered at once; others wait for
/// their turn.
const LONG_MAX: usize = 2;

/// The same for words about connections (`stat`, `cons`, `crst`, `srst`). They have turns of their own since `stat` asks
/// whether the server is well, and must not wait until somebody has read a million watches.
const CONNECTIONS_MAX: usize = 4;

/// How long the mask of `stmk` may be on its way.
const MASK_MAX: Duration = Duration::from_secs(1);

/// What four-letter words are answered from.
#[derive(Debug)]
pub struct Words {
    core: Arc<Core>,
    shards: Vec<mpsc::Sender<ToShard>>,
    whitelist: Whitelist,
    config: Config,
    version: String,
    trace_mask: AtomicI64,
    start: StartTimes,
    /// `srst` came: the metrics of the start are gone, too.
    start_is_forgotten: AtomicBool,
    long: Semaphore,
    connections: Semaphore,
}

impl Words {
    /// Over a server.
    pub fn new(core: Arc<Core>, shards: Vec<mpsc::Sender<ToShard>>, config: Config, start: StartTimes) -> Self {
        let whitelist = config.four_letter_whitelist.clone();
        Self {
            core,
            shards,
            whitelist,
            config,
            version: text::version_text(env!("OSTLER_BUILT_ON")),
            trace_mask: AtomicI64::new(text::TRACE_MASK_DEFAULT),
            start,
            start_is_forgotten: AtomicBool::new(false),
            long: Semaphore::new(LONG_MAX),
            connections: Semaphore::new(CONNECTIONS_MAX),
        }
    }

    /// What the server is; `None`: it does not serve.
    fn mode(&self) -> Option<Mode> {
        self.core.member.as_ref().map_or(Some(Mode::Standalone), Member::mode)
    }

    /// Answers a word; `stmk` reads its argument first, of which `rest` has come with the word.
    pub async fn answer(&self, word: Word, rest: &[u8], stream: &TcpStream, out: &mut Out<'_>) -> Result<(), Gone> {
        if !self.whitelist.allows(word) {
            return out.push(&word.refusal()).await;
        }
        let mode = self.mode();
        if mode.is_none() && !word.works_without_service() {
            // Without a line end where Apache has none.
            let refusal = text::NOT_SERVING;
            return out.push(if word == Word::Hash { refusal.trim_end() } else { refusal }).await;
        }
        let answer = match word {
            Word::Ruok => text::RUOK.to_owned(),
            Word::Srvr => text::srvr(&self.stats()),
            Word::Mntr => self.mntr().await,
            Word::Isro => text::isro(mode).to_owned(),
            Word::Dirs => {
                let (data, log) = self.directory_sizes().await;
                text::dirs(data, log)
            }
            Word::Conf => self.conf().await,
            Word::Envi => {
                let version = self.version.clone();
                let pairs = tokio::task::spawn_blocking(move || environment::pairs(&version)).await;
                let pairs = pairs.unwrap_or_default();
                text::envi(pairs.iter().map(|(key, value)| (*key, value.as_str())))
            }
            Word::Elec => self.elections(),
            Word::Gtmk => text::trace_mask(self.trace_mask.load(Relaxed)),
            Word::Stmk => match tokio::time::timeout(MASK_MAX, read_mask(rest, stream)).await {
                Ok(Some(mask)) => {
                    self.trace_mask.store(mask, Relaxed);
                    text::trace_mask(mask)
                }
                Ok(None) | Err(_) => String::new(),
            },
            Word::Hash => {
                let recorded: Vec<_> = self.core.shared.tree.read().recorded_digests().collect();
                text::hash(recorded.into_iter().map(|(zxid, digest)| (zxid.0, digest.0.cast_unsigned())))
            }
            Word::TelnetClose => String::new(),
            Word::Stat | Word::Cons | Word::Crst | Word::Srst | Word::Dump | Word::Wchs | Word::Wchc | Word::Wchp => {
                return self.long_answer(word, out).await;
            }
        };
        out.push(&answer).await
    }

    async fn long_answer(&self, word: Word, out: &mut Out<'_>) -> Result<(), Gone> {
        let turns = match word {
            Word::Stat | Word::Cons | Word::Crst | Word::Srst => &self.connections,
            _ => &self.long,
        };
        let Ok(_turn) = turns.acquire().await else { return Err(Gone) };
        match word {
            Word::Stat => {
                out.push(&text::stat_head(&self.stats())).await?;
                self.connections(true, out).await?;
                out.push(&text::stat_tail(&self.stats())).await
            }
            Word::Cons => self.connections(false, out).await,
            Word::Crst => {
                self.reset_connections().await?;
                out.push(text::CRST).await
            }
            Word::Srst => {
                self.reset_server().await?;
                out.push(text::SRST).await
            }
            Word::Dump => self.dump(out).await,
            Word::Wchs => self.watches_in_brief(out).await,
            Word::Wchc => self.watches_by_session(out).await,
            _ => self.watches_by_path(out).await,
        }
    }

    /// The bytes in the directories of the data and of the log; looking may block.
    async fn directory_sizes(&self) -> (u64, u64) {
        let (data, log) = self.directories();
        let sizes = tokio::task::spawn_blocking(move || (directory_bytes(&data), directory_bytes(&log))).await;
        sizes.unwrap_or_default()
    }

    fn directories(&self) -> (PathBuf, PathBuf) {
        let storage = &self.config.storage;
        (storage.data_dir.join(crate::disk::VERSION_DIR), storage.data_log_dir.join(crate::disk::VERSION_DIR))
    }

    /// What `srvr` tells.
    pub fn stats(&self) -> ServerStats {
        let shared = &self.core.shared;
        let (mut count, mut sum, mut min, mut max) = (0, 0, u64::MAX, 0);
        let (mut received, mut sent, mut connections) = (0, 0, 0);
        for stats in &shared.shard_stats {
            count += stats.latency.count.get();
            sum += stats.latency.sum.get();
            min = min.min(stats.latency.min.get());
            max = max.max(stats.latency.max.get());
            received += stats.packets_received.get();
            sent += stats.packets_sent.get();
            connections += stats.connections.get();
        }
        let tree = shared.tree.read();
        ServerStats {
            version: self.version.clone(),
            mode: self.mode().unwrap_or(Mode::ReadOnly),
            latency_ms_min: if count == 0 { 0 } else { (min / 1000) as i64 },
            latency_ms_avg: text::average((sum / 1000) as i64, count as i64),
            latency_ms_max: (max / 1000) as i64,
            received: received as i64,
            sent: sent as i64,
            connections: connections as i64,
            outstanding: shared.in_flight.load(Relaxed) as i64,
            zxid: tree.last_processed().0,
            nodes: tree.node_count() as i64,
            proposals: (self.mode() == Some(Mode::Leader)).then(|| {
                let [last, min, max] = ResponseSizes::of([&shared.pipeline_stats.proposal_sizes]);
                ProposalSizes { last, min, max }
            }),
        }
    }

    /// What `conf` tells of a member besides.
    fn member_stats(&self) -> Option<text::MemberStats> {
        let (ensemble, member) = self.config.ensemble.as_ref().zip(self.core.member.as_ref())?;
        let quorums = member.configuration();
        let own = quorums.committed().member(ensemble.me);
        let addresses = own.map(|it| it.addresses.clone()).unwrap_or_default();
        Some(text::MemberStats {
            init_limit: ensemble.init_limit_ticks,
            sync_limit: ensemble.sync_limit_ticks,
            election_ports: addresses.iter().map(|it| it.election_port).collect(),
            quorum_ports: addresses.iter().map(|it| it.quorum_port).collect(),
            is_observer: own.is_some_and(|it| it.role == Role::Observer),
            membership: quorums.committed().to_string(),
        })
    }

    fn elections(&self) -> String {
        match self.config.ensemble.as_ref().zip(self.core.member.as_ref()) {
            Some((ensemble, member)) => member.elections.text(ensemble.me, std::process::id()),
            None => "This server is on its own\n".to_owned(),
        }
    }

    async fn conf(&self) -> String {
        let (config, (data, log)) = (&self.config, self.directories());
        let (data_dir_bytes, data_log_bytes) = self.directory_sizes().await;
        let moved_to = self.core.member.as_ref().and_then(|member| member.client_port.moved_to());
        let absolute =
            |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
        text::conf(&text::ConfStats {
            client_port: i32::from(moved_to.unwrap_or(config.client.port)),
            secure_client_port: -1,
            data_dir_bytes,
            data_dir: absolute(&data),
            data_log_bytes,
            data_log_dir: absolute(&log),
            tick_ms: config.sessions.tick_ms,
            max_client_cnxns: config.client.connections_per_address_configured,
            session_timeout_ms_min: config.sessions.timeout_ms_min,
            session_timeout_ms_max: config.sessions.timeout_ms_max,
            listen_backlog: config.client.listen_backlog_configured,
            server_id: config.ensemble.as_ref().map_or(0, |ensemble| ensemble.me.0),
            member: self.member_stats(),
        })
    }
}

/// The mask of `stmk`, of which `begun` is there; `None`: the other end closed before it was whole.
async fn read_mask(begun: &[u8], stream: &TcpStream) -> Option<i64> {
    let mut mask = [0; 8];
    let mut filled = begun.len().min(mask.len());
    mask[..filled].copy_from_slice(&begun[..filled]);
    while filled < mask.len() {
        stream.readable().await.ok()?;
        match stream.try_read(&mut mask[filled..]) {
            Ok(0) => return None,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    Some(i64::from_be_bytes(mask))
}
