//! The words whose answers have no end to speak of: `cons`, `stat`, `dump`, `wchs`, `wchc`, `wchp`, `crst`, `srst`.
//!
//! Each is gathered piece by piece: a shard is asked for a piece, the piece is written to the socket, and only then the
//! next one is asked for. Between two pieces the server goes on with its work, so what is told is not one moment: what
//! was there all the time is in it, once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;
use tree::NodeId;
use wire::SessionId;

use super::{Gone, Out, Words};
use crate::four_letter::{self as text, Set, WatchSummary};
use crate::shard_thread::{Query, ToShard, WatchedPath};

/// Sessions, or ephemerals, that are looked at under one hold of a lock.
const PIECE: usize = 512;
/// Sessions of a path that another shard tells at once.
const OTHERS_MAX: usize = 64;
/// Text is handed to the socket when there is so much of it.
const TEXT: usize = 16 * 1024;

impl Words {
    async fn ask<T>(&self, shard: usize, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        // A shard that is gone belongs to a server that is going.
        self.shards[shard].send(ToShard::Ask(query(answer))).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// The lines of all connections.
    pub(super) async fn connections(&self, is_brief: bool, out: &mut Out<'_>) -> Result<(), Gone> {
        for shard in 0..self.shards.len() {
            let mut next = Some(0);
            while let Some(from) = next {
                let (lines, more) = self.ask(shard, |answer| Query::Connections { is_brief, from, answer }).await?;
                out.push(&lines).await?;
                next = more;
            }
        }
        out.push(text::CONNECTIONS_END).await
    }

    pub(super) async fn reset_connections(&self) -> Result<(), Gone> {
        for shard in 0..self.shards.len() {
            let mut next = Some(0);
            while let Some(from) = next {
                next = self.ask(shard, |answer| Query::ResetConnections { from, answer }).await?.1;
            }
        }
        Ok(())
    }

    pub(super) async fn reset_server(&self) -> Result<(), Gone> {
        for shard in 0..self.shards.len() {
            self.ask(shard, |answer| Query::ResetShard { answer }).await?;
        }
        // The pipeline is held meanwhile: it has one writer at a time.
        self.core.with(|_| self.core.shared.pipeline_stats.reset());
        self.core.shared.quota_reports.lock().reset();
        self.start_is_forgotten.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn dump(&self, out: &mut Out<'_>) -> Result<(), Gone> {
        out.push("SessionTracker dump:\n").await?;
        let sessions = self.sessions().await;
        self.write_sets("Session", &sessions, out, |(_, session), text| text::session_line(session.0, text)).await?;
        self.ephemerals(&sessions, out).await?;
        drop(sessions);
        out.push("Connections dump:\n").await?;
        let mut connections = Vec::new();
        for shard in 0..self.shards.len() {
            let mut next = Some(0);
            while let Some(from) = next {
                let (piece, more) = self.ask(shard, |answer| Query::Expiring { from, answer }).await?;
                connections.extend(piece.into_iter().map(|one| (one.expires_ms, one)));
                next = more;
            }
        }
        connections.sort_unstable();
        self.write_sets("Connections", &connections, out, |(_, one), text| {
            text::connection_line(one.remote, one.session, text);
        })
        .await
    }

    /// All sessions and when they end, in ms of the clock that never goes back, in that order.
    async fn sessions(&self) -> Vec<(i64, SessionId)> {
        let (mut gathered, mut piece, mut after) = (Gathered::default(), Vec::with_capacity(PIECE), None);
        loop {
            piece.clear();
            let more = self.core.with(|machines| {
                let pipeline = &machines.node.pipeline;
                let more = pipeline.sessions_after(after, PIECE, &mut piece);
                after = piece.last().copied();
                for (expires_ms, _) in &mut piece {
                    *expires_ms = pipeline.to_mono_ms(*expires_ms);
                }
                more
            });
            gathered.add(&piece);
            if !more {
                return gathered.all;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Members that are sorted by when they expire, in sets.
    async fn write_sets<T: Copy>(
        &self,
        what: &str,
        members: &[(i64, T)],
        out: &mut Out<'_>,
        line: impl Fn((i64, T), &mut String),
    ) -> Result<(), Gone> {
        let sets = || members.chunk_by(|(one, _), (other, _)| one == other);
        let mut text = text::sets_head(what, sets().count(), members.len());
        let now = self.core.clock.now();
        for set in sets() {
            let expires_ms = set[0].0 - now.mono_ms() + now.wall_ms;
            Set { expires_ms, members: set.len() }.write_line(&super::environment::zone_at(expires_ms), &mut text);
            for member in set {
                line(*member, &mut text);
                if text.len() > TEXT {
                    out.push(&std::mem::take(&mut text)).await?;
                }
            }
        }
        out.push(&text).await
    }

    async fn ephemerals(&self, sessions: &[(i64, SessionId)], out: &mut Out<'_>) -> Result<(), Gone> {
        let shared = &self.core.shared;
        let mut text = text::ephemerals_head(shared.tree.read().owner_count());
        let mut rest = sessions.iter().map(|(_, session)| *session).peekable();
        let mut from: Option<NodeId> = None;
        while rest.peek().is_some() {
            {
                let tree = shared.tree.read();
                let mut left = PIECE;
                while let Some(&session) = rest.peek().filter(|_| left > 0) {
                    let mut last = None;
                    for node in tree.ephemerals_after(session, from).take(left) {
                        if from.is_none() && last.is_none() {
                            text::ephemeral_line(session.0, None, &mut text);
                        }
                        text::ephemeral_line(session.0, Some(&node.path()), &mut text);
                        last = Some(node.id());
                        left -= 1;
                    }
                    left = left.saturating_sub(1);
                    match last {
                        Some(id) if left == 0 => from = Some(id),
                        _ => {
                            from = None;
                            rest.next();
                        }
                    }
                }
            }
            out.push(&std::mem::take(&mut text)).await?;
            tokio::task::yield_now().await;
        }
        out.push(&text).await
    }

    pub(super) async fn watches_by_session(&self, out: &mut Out<'_>) -> Result<(), Gone> {
        for shard in 0..self.shards.len() {
            let mut next = Some(tree::watch::PathsCursor::default());
            while let Some(from) = next {
                let (lines, more) = self.ask(shard, |answer| Query::WatchedBySession { from, answer }).await?;
                out.push(&lines).await?;
                next = more;
            }
        }
        out.push("\n").await
    }

    pub(super) async fn watches_in_brief(&self, out: &mut Out<'_>) -> Result<(), Gone> {
        let mut summary = WatchSummary { connections: 0, paths: 0, watches: 0 };
        for shard in 0..self.shards.len() {
            let mut connections = BTreeSet::new();
            let mut walk = PathWalk::new(shard);
            while let Some(piece) = walk.next(self).await? {
                let told_elsewhere = self.told_elsewhere(shard, &piece).await?;
                for (entry, is_told) in piece.iter().zip(told_elsewhere) {
                    let is_new = entry.is_new && !is_told;
                    summary.paths += usize::from(is_new);
                    summary.watches += entry.path.watchers.len();
                    connections.extend(entry.path.watchers.iter().map(|(watcher, _)| *watcher));
                }
            }
            summary.connections += connections.len();
        }
        out.push(&text::wchs(summary)).await
    }

    pub(super) async fn watches_by_path(&self, out: &mut Out<'_>) -> Result<(), Gone> {
        for shard in 0..self.shards.len() {
            let mut walk = PathWalk::new(shard);
            while let Some(piece) = walk.next(self).await? {
                let told_elsewhere = self.told_elsewhere(shard, &piece).await?;
                let mine: Vec<_> = piece.into_iter().zip(told_elsewhere).filter(|(_, told)| !told).collect();
                let complete: Vec<_> = mine
                    .iter()
                    .filter(|(entry, _)| entry.is_complete)
                    .map(|(entry, _)| entry.path.path.clone())
                    .collect();
                let mut others = self.others(shard, complete.into()).await?;
                let mut text = String::new();
                for (entry, _) in mine {
                    let path = &entry.path.path;
                    if entry.is_new {
                        text::path_of_watches(path, None, &mut text);
                    }
                    for (_, session) in &entry.path.watchers {
                        text::path_of_watches(path, Some(*session), &mut text);
                    }
                    for other in others.iter_mut().filter(|_| entry.is_complete) {
                        let (sessions, mut more) = other.1.next().unwrap_or_default();
                        for session in sessions {
                            text::path_of_watches(path, Some(session), &mut text);
                        }
                        while let Some(from) = more {
                            let paths: Arc<[_]> = [path.clone()].into();
                            let query = |answer| Query::Watching { paths, from, max: 16 * OTHERS_MAX, answer };
                            let (sessions, next) = self.ask(other.0, query).await?.pop().unwrap_or_default();
                            for session in sessions {
                                text::path_of_watches(path, Some(session), &mut text);
                            }
                            out.push(&std::mem::take(&mut text)).await?;
                            more = next;
                        }
                    }
                }
                out.push(&text).await?;
            }
        }
        out.push("\n").await
    }

    /// For each path: do shards before this one watch it? Then it was told with those.
    async fn told_elsewhere(&self, shard: usize, piece: &[Walked]) -> Result<Vec<bool>, Gone> {
        let mut told = vec![false; piece.len()];
        let paths: Arc<[Box<str>]> = piece.iter().map(|entry| entry.path.path.clone()).collect();
        for before in (0..shard).filter(|_| !paths.is_empty()) {
            let paths = paths.clone();
            let query = |answer| Query::Watching { paths, from: 0, max: 1, answer };
            let watching = self.ask(before, query).await?;
            told.iter_mut().zip(watching).for_each(|(told, (sessions, _))| *told |= !sessions.is_empty());
        }
        Ok(told)
    }

    /// The sessions that watch these paths in the shards behind this one.
    #[allow(clippy::type_complexity, reason = "an answer a shard")]
    async fn others(
        &self,
        shard: usize,
        paths: Arc<[Box<str>]>,
    ) -> Result<Vec<(usize, std::vec::IntoIter<(Vec<i64>, Option<u32>)>)>, Gone> {
        let mut all = Vec::new();
        for behind in (shard + 1..self.shards.len()).filter(|_| !paths.is_empty()) {
            let paths = paths.clone();
            let query = |answer| Query::Watching { paths, from: 0, max: OTHERS_MAX, answer };
            all.push((behind, self.ask(behind, query).await?.into_iter()));
        }
        Ok(all)
    }
}

/// Sessions in the order in which they end, gathered in pieces. One that is heard of between two pieces ends later, and
/// comes again in a later one; it is told where it was first.
#[derive(Default)]
struct Gathered {
    all: Vec<(i64, SessionId)>,
    /// Grows by small nodes: a hash table would be moved as a whole now and then, on the thread of a shard.
    ids: BTreeSet<SessionId>,
}

impl Gathered {
    fn add(&mut self, piece: &[(i64, SessionId)]) {
        self.all.extend(piece.iter().filter(|(_, id)| self.ids.insert(*id)));
    }
}

/// A path on the walk.
struct Walked {
    path: WatchedPath,
    /// It was not in the piece before.
    is_new: bool,
    /// It is not in the next piece again.
    is_complete: bool,
}

/// A walk through the watched paths of one shard.
struct PathWalk {
    shard: usize,
    next: Option<tree::watch::PathCursor>,
    /// The path that was gone on with.
    open: Option<Box<str>>,
}

impl PathWalk {
    fn new(shard: usize) -> Self {
        Self { shard, next: Some(tree::watch::PathCursor::default()), open: None }
    }

    async fn next(&mut self, words: &Words) -> Result<Option<Vec<Walked>>, Gone> {
        let Some(from) = self.next else { return Ok(None) };
        let (piece, next) = words.ask(self.shard, |answer| Query::WatchedPaths { from, answer }).await?;
        self.next = next;
        let is_within = next.is_some_and(tree::watch::PathCursor::is_within);
        let last = piece.len().saturating_sub(1);
        let open = std::mem::take(&mut self.open);
        let mut walked: Vec<_> = piece
            .into_iter()
            .enumerate()
            .map(|(at, path)| Walked {
                is_new: at > 0 || open.as_ref() != Some(&path.path),
                is_complete: at < last || !is_within,
                path,
            })
            .collect();
        if let Some(path) = open.filter(|open| walked.first().is_none_or(|first| first.path.path != *open)) {
            if walked.is_empty() && is_within {
                self.open = Some(path);
                return Ok(Some(walked));
            }
            // What was left of it was in the other table alone.
            let path = WatchedPath { path, watchers: Vec::new() };
            walked.insert(0, Walked { path, is_new: false, is_complete: true });
        }
        if is_within {
            self.open = walked.last().map(|entry| entry.path.path.clone());
        }
        Ok(Some(walked))
    }
}

#[cfg(test)]
mod tests {
    use peer::session_tracker::SessionTracker;
    use wire::ServerId;

    use super::*;

    #[test]
    fn a_session_touched_between_two_pieces_is_told_once() {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut tracker = SessionTracker::new(hasher, ServerId(1), 2000, 5);
        for id in 1..=6 {
            tracker.add(SessionId(id), 4000, None, 0);
        }
        let (mut gathered, mut piece, mut after) = (Gathered::default(), Vec::new(), None);
        let mut pieces = 0;
        loop {
            piece.clear();
            let more = tracker.after(after, 2, &mut piece);
            after = piece.last().copied();
            gathered.add(&piece);
            if !more {
                break;
            }
            pieces += 1;
            if pieces == 1 {
                // One that was told, the last one that was told, and one that was not.
                for id in [1, 2, 4] {
                    tracker.touch(SessionId(id), 3000);
                }
            }
        }
        let told: Vec<_> = gathered.all.iter().map(|&(expires_ms, SessionId(id))| (expires_ms, id)).collect();
        assert_eq!(told, [(6000, 1), (6000, 2), (6000, 3), (6000, 5), (6000, 6), (8000, 4)]);
    }
}
