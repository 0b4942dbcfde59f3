//! Quotas: znodes below `/zookeeper/quota` that hold limits and counts, as clients write and read them.
//!
//! Source: `StatsTrack`, `Quotas`, `cli.SetQuotaCommand`, `cli.DelQuotaCommand`, `cli.ListQuotaCommand`.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};
use zookeeper_client::{Client, Error};

use crate::command::{CreateKind, Limit, check_path};
use crate::failure::{Failure, Kind};
use crate::path::join;
use crate::run::{Answer, Shell};
use crate::walk::Walk;

const ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The numbers of a quota znode; -1: none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Track(BTreeMap<String, i64>);

impl Track {
    /// Reads `count=1,bytes=2=;byteHardLimit=3;countHardLimit=4`, and the older forms of it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut track = Self::default();
        for pair in text.split([',', ';']).filter(|it| !it.is_empty()) {
            let mut parts = pair.split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            track.0.insert(key.to_owned(), if value.is_empty() { -1 } else { value.parse().ok()? });
        }
        Some(track)
    }

    /// The number of a limit.
    pub fn get(&self, limit: Limit) -> i64 {
        self.0.get(key(limit)).copied().unwrap_or(-1)
    }

    fn set(&mut self, limit: Limit, value: i64) {
        self.0.insert(key(limit).to_owned(), value);
    }

    /// The form that servers of all releases read: count and bytes first, and an `=` too many behind them where more
    /// follows. Source: `StatsTrack.toString`.
    pub fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get(Limit::Count), self.get(Limit::Bytes));
        let mut others = self.0.iter().filter(|(key, _)| !matches!(key.as_str(), "count" | "bytes")).peekable();
        if others.peek().is_some() {
            text.push('=');
        }
        for (key, value) in others {
            let _ = write!(text, ";{key}={value}");
        }
        text
    }

    fn json(&self) -> Value {
        json!(self.0)
    }
}

fn key(limit: Limit) -> &'static str {
    match limit {
        Limit::Count => "count",
        Limit::Bytes => "bytes",
        Limit::CountHard => "countHardLimit",
        Limit::BytesHard => "byteHardLimit",
    }
}

/// Where the limits of a path are.
pub fn limits_path(path: &str) -> String {
    format!("{ROOT}{path}/{LIMITS}")
}

/// `listquota`.
pub async fn list(client: &Client, path: &str) -> Result<Answer, Failure> {
    let at = limits_path(path);
    let mut answer = Answer::default();
    check_path(&at, false)?;
    let limits = match read(client, &at).await {
        Err(Error::NoNode) => None,
        other => Some(other.map_err(|e| Failure::client(&e, &at))?),
    };
    let Some(limits) = limits else { return Ok(without(answer, path)) };
    let at = format!("{ROOT}{path}/{STATS}");
    let stats = match read(client, &at).await {
        Err(Error::NoNode) => return Ok(without(answer, path)),
        other => other.map_err(|e| Failure::client(&e, &at))?,
    };
    let (limits, stats) = (track(&limits, path)?, track(&stats, path)?);
    answer.out = format!("Output quota for {path} {}\nOutput stat for {path} {}\n", limits.text(), stats.text()).into();
    answer.json = json!({ "path": path, "quota": limits.json(), "stat": stats.json() });
    Ok(answer)
}

fn without(mut answer: Answer, path: &str) -> Answer {
    let _ = writeln!(answer.err, "quota for {path} does not exist.");
    answer.json = json!({ "path": path, "quota": null, "stat": null });
    answer
}

/// `delquota`.
pub async fn delete(client: &Client, path: &str, limit: Option<Limit>) -> Result<Answer, Failure> {
    let parent = format!("{ROOT}{path}");
    let at = limits_path(path);
    check_path(&at, false)?;
    let mut answer = Answer { json: json!({ "path": path, "deleted": true }), ..Answer::default() };
    let data = match read(client, &at).await {
        Err(Error::NoNode) => {
            answer.out = format!("Quota does not exist for {path}\n").into();
            answer.json = json!({ "path": path, "deleted": false });
            return Ok(answer);
        }
        other => other.map_err(|e| Failure::client(&e, &at))?,
    };
    if let Some(limit) = limit {
        let mut track = track(&data, path)?;
        track.set(limit, -1);
        client.set_data(&at, track.text().as_bytes(), None).await.map_err(|e| Failure::client(&e, &at))?;
        return Ok(answer);
    }
    for child in children(client, &parent).await? {
        let child = join(&parent, &child);
        client.delete(&child, None).await.map_err(|e| Failure::client(&e, &child))?;
    }
    // What is left empty above it goes too.
    let mut at = parent.as_str();
    while at != ROOT && children(client, at).await?.is_empty() {
        client.delete(at, None).await.map_err(|e| Failure::client(&e, at))?;
        at = crate::path::parent(at);
    }
    Ok(answer)
}

impl Shell {
    /// `setquota`.
    pub(crate) async fn set_quota(
        &mut self,
        client: &Client,
        path: &str,
        limit: Limit,
        value: i64,
    ) -> Result<Answer, Failure> {
        check_path(path, false)?;
        match client.check_stat(path).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(Failure::usage(format!("{path} does not exist."))),
            Err(e) => return Err(Failure::client(&e, path)),
        }
        // Of `/` there can't be one: the names of its znodes would not be paths.
        check_path(&format!("{ROOT}{path}"), false)?;
        no_quota_below(client, path).await?;
        no_quota_above(client, path).await?;
        let mut at = String::from(ROOT);
        self.create_if_missing(client, "/zookeeper").await?;
        self.create_if_missing(client, ROOT).await?;
        for name in path.split('/').filter(|it| !it.is_empty()) {
            at = join(&at, name);
            self.create_if_missing(client, &at).await?;
        }
        let (limits_at, stats_at) = (join(&at, LIMITS), join(&at, STATS));
        let mut limits = match read(client, &limits_at).await {
            Ok(data) => track(&data, path)?,
            Err(Error::NoNode) => {
                let mut limits = Track::default();
                for limit in [Limit::Count, Limit::Bytes, Limit::CountHard, Limit::BytesHard] {
                    limits.set(limit, -1);
                }
                limits
            }
            Err(e) => return Err(Failure::client(&e, &limits_at)),
        };
        limits.set(limit, value);
        let made = self.create_with(client, &limits_at, limits.text().as_bytes()).await?;
        if made {
            // The server counts what is there as soon as it sees this one.
            self.create_with(client, &stats_at, b"count=0,bytes=0").await?;
        }
        let data = read(client, &stats_at).await.map_err(|e| Failure::client(&e, &stats_at))?;
        let stats = track(&data, path)?;
        if !made {
            let done = client.set_data(&limits_at, limits.text().as_bytes(), None).await;
            done.map_err(|e| Failure::client(&e, &limits_at))?;
        }
        let mut warnings = String::new();
        let below = |limit, used: i64| (0..used).contains(&limits.get(limit));
        let (count, bytes) = (stats.get(Limit::Count), stats.get(Limit::Bytes));
        for (what, soft, hard, used) in
            [("count", Limit::Count, Limit::CountHard, count), ("bytes", Limit::Bytes, Limit::BytesHard, bytes)]
        {
            if below(soft, used) || below(hard, used) {
                let _ = writeln!(
                    warnings,
                    "[Warning]: the {what} quota you create is less than the existing {what}:{used}"
                );
            }
        }
        let json = json!({ "path": path, "quota": limits.json(), "stat": stats.json(),
            "warnings": warnings.lines().collect::<Vec<_>>() });
        Ok(Answer { out: warnings.into(), json, ..Answer::default() })
    }

    async fn create_if_missing(&mut self, client: &Client, path: &str) -> Result<(), Failure> {
        match client.check_stat(path).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(e) => return Err(Failure::client(&e, path)),
        }
        let plain = CreateKind::Plain { ephemeral: false, sequential: false };
        match self.create(client, path, None, None, plain).await {
            Err(failure) if failure.zookeeper().is_some_and(|it| it.name() == "NodeExists") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// False: it was there already.
    async fn create_with(&mut self, client: &Client, path: &str, data: &[u8]) -> Result<bool, Failure> {
        let plain = CreateKind::Plain { ephemeral: false, sequential: false };
        match self.create(client, path, Some(data), None, plain).await {
            Err(failure) if failure.zookeeper().is_some_and(|it| it.name() == "NodeExists") => Ok(false),
            other => other.map(|_| true),
        }
    }
}

/// Quotas do not nest: none may be below the path.
async fn no_quota_below(client: &Client, path: &str) -> Result<(), Failure> {
    let top = format!("{ROOT}{path}");
    let mut walk = Walk::new(&top);
    loop {
        let found = match walk.next(client).await {
            Ok(None) => return Ok(()),
            Err(failure) if failure.zookeeper().is_some_and(|it| it.name() == "NoNode") => return Ok(()),
            other => other?.unwrap_or_default(),
        };
        let Some(at) = found.strip_suffix(LIMITS).and_then(|it| it.strip_suffix('/')) else { continue };
        if at != top {
            let child = at.strip_prefix(ROOT).unwrap_or(at);
            return Err(Failure::usage(format!("{path} has a child {child} which has a quota")));
        }
    }
}

/// … nor above it.
async fn no_quota_above(client: &Client, path: &str) -> Result<(), Failure> {
    let mut above = crate::path::parent(path);
    let mut parents = Vec::new();
    while above != "/" {
        parents.push(above);
        above = crate::path::parent(above);
    }
    for parent in parents.into_iter().rev() {
        let at = limits_path(parent);
        match client.check_stat(&at).await {
            Ok(None) => {}
            Ok(Some(_)) => return Err(Failure::usage(format!("{path} has a parent {parent} which has a quota"))),
            Err(e) => return Err(Failure::client(&e, &at)),
        }
    }
    Ok(())
}

async fn children(client: &Client, path: &str) -> Result<Vec<String>, Failure> {
    client.list_children(path).await.map_err(|e| Failure::client(&e, path))
}

async fn read(client: &Client, path: &str) -> Result<Vec<u8>, Error> {
    client.get_data(path).await.map(|(data, _)| data)
}

fn track(data: &[u8], path: &str) -> Result<Track, Failure> {
    let text = String::from_utf8_lossy(data);
    Track::parse(&text).ok_or_else(|| Failure::new(Kind::Other, format!("the quota of {path} can't be read: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_old_and_new() {
        let track = Track::parse("count=5,bytes=-1=;byteHardLimit=7;countHardLimit=-1").unwrap();
        assert_eq!((track.get(Limit::Count), track.get(Limit::BytesHard), track.get(Limit::Bytes)), (5, 7, -1));
        assert_eq!(track.text(), "count=5,bytes=-1=;byteHardLimit=7;countHardLimit=-1");
        assert_eq!(Track::parse("count=0,bytes=0").unwrap().text(), "count=0,bytes=0");
        assert_eq!(Track::parse("").unwrap().text(), "count=-1,bytes=-1");
        assert_eq!(Track::parse("count=x"), None);
    }
}
