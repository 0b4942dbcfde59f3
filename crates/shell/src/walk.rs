//! Whole trees: `ls -R`, `deleteall`, `setAcl -R`.

use std::collections::VecDeque;
use std::pin::Pin;

use serde_json::json;
use zookeeper_client::{Acl, Client, Error, MultiWriteError, MultiWriteResult};

use crate::command::check_path;
use crate::failure::{Code, Failure, Kind};
use crate::path::join;
use crate::run::{Answer, Shell};
use crate::session::WatchKind;

/// How many lists of children are asked for before the first of them is looked at.
const AHEAD: usize = 32;
/// Most multis of `deleteall` that are under way. Source: `ZKUtil.deleteInBatch`.
const BATCHES: usize = 10;
/// The most bytes of paths in one multi: far below the 1 MiB that servers take, whatever batch size was asked for.
const BATCH_BYTES: usize = 256 << 10;
/// After how many znodes the progress line changes.
const PROGRESS_EVERY: usize = 500;

type Batch<'a> = Pin<Box<dyn Future<Output = Result<Vec<MultiWriteResult>, MultiWriteError>> + Send + 'a>>;
type Children<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, Error>> + Send + 'a>>;

/// The paths below a path and itself, depth first: the children of a znode together, then what is below each. Source:
/// `ZKUtil.visitSubTreeDFS`. It holds one list of names a level.
#[derive(Debug)]
pub struct Walk {
    begun: bool,
    top: String,
    /// To be given out next.
    ready: VecDeque<String>,
    /// Lists of siblings whose children were not asked for yet, the deepest last.
    levels: Vec<VecDeque<String>>,
}

impl Walk {
    /// A walk from `top`.
    pub fn new(top: &str) -> Self {
        Self { begun: false, top: top.to_owned(), ready: VecDeque::new(), levels: Vec::new() }
    }

    /// The next path; the top must be there and readable, what goes meanwhile is left out.
    pub async fn next(&mut self, client: &Client) -> Result<Option<String>, Failure> {
        if !self.begun {
            self.begun = true;
            client.get_data(&self.top).await.map_err(|e| Failure::client(&e, &self.top))?;
            self.levels.push(VecDeque::from([self.top.clone()]));
            return Ok(Some(self.top.clone()));
        }
        loop {
            if let Some(path) = self.ready.pop_front() {
                return Ok(Some(path));
            }
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(path) = level.pop_front() else {
                self.levels.pop();
                continue;
            };
            self.open(&path, client.list_children(&path).await)?;
        }
    }

    fn open(&mut self, path: &str, names: Result<Vec<String>, Error>) -> Result<(), Failure> {
        let mut names = match names {
            Err(Error::NoNode) => return Ok(()),
            other => other.map_err(|e| Failure::client(&e, path))?,
        };
        names.sort();
        let paths: VecDeque<String> = names.iter().map(|name| join(path, name)).collect();
        self.ready.clone_from(&paths);
        self.levels.push(paths);
        Ok(())
    }
}

impl Shell {
    /// `ls -R`: printed as it is found.
    pub(crate) async fn list_tree(&mut self, client: &Client, path: &str, watch: bool) -> Result<Answer, Failure> {
        check_path(path, false)?;
        let failed = |e: Error, path: &str| Failure::client(&e, path);
        if watch {
            let (_, _, watcher) = client.get_and_watch_data(path).await.map_err(|e| failed(e, path))?;
            self.session.watches().add_once(path, WatchKind::Data, watcher).await;
        } else {
            client.get_data(path).await.map_err(|e| failed(e, path))?;
        }
        self.found(path, 1)?;
        let mut count = 1;
        let mut levels = vec![Level::new(vec![path.to_owned()])];
        while let Some(level) = levels.last_mut() {
            let next = if watch {
                let Some(path) = level.paths.pop_front() else {
                    levels.pop();
                    continue;
                };
                let names = match client.list_and_watch_children(&path).await {
                    Ok((names, watcher)) => {
                        self.session.watches().add_once(&path, WatchKind::Child, watcher).await;
                        Ok(names)
                    }
                    Err(e) => Err(e),
                };
                Some((path, names))
            } else {
                level.next(client).await
            };
            let Some((path, names)) = next else {
                levels.pop();
                continue;
            };
            let mut names = match names {
                Err(Error::NoNode) => continue,
                other => other.map_err(|e| failed(e, &path))?,
            };
            names.sort();
            let paths: Vec<String> = names.iter().map(|name| join(&path, name)).collect();
            for path in &paths {
                count += 1;
                self.found(path, count)?;
            }
            levels.push(Level::new(paths));
        }
        self.screen.end_progress();
        Ok(Answer::silent())
    }

    fn found(&self, path: &str, count: usize) -> Result<(), Failure> {
        if self.screen.json {
            self.screen.json_line(&json!({ "command": "ls", "path": path }))?;
        } else {
            self.screen.out(format!("{path}\n").as_bytes())?;
        }
        if count.is_multiple_of(PROGRESS_EVERY) {
            self.screen.flush()?;
            if !self.screen.out_terminal {
                self.screen.progress(&format!("{count} znodes …"));
            }
        }
        Ok(())
    }

    /// `deleteall`: from the leaves to the top, in multis. Source: `ZKUtil.deleteRecursive`.
    pub(crate) async fn delete_all(&mut self, client: &Client, path: &str, batch: i32) -> Result<Answer, Failure> {
        check_path(path, false)?;
        let tree = self.list_breadth_first(client, path).await?;
        let total = tree.len();
        let batch_max = usize::try_from(batch).unwrap_or(0);
        let failed = || Failure::new(Kind::Other, "Failed to delete some node(s) in the subtree!");
        let mut done = 0;
        if batch_max == 0 {
            for path in tree.iter().rev() {
                client.delete(path, None).await.map_err(|e| delete_failure(&e, path))?;
                done += 1;
                self.deleted(done, total);
            }
        } else {
            let mut under_way: VecDeque<(usize, Batch<'_>)> = VecDeque::new();
            let mut left = tree.as_slice();
            let mut why = None;
            while why.is_none() && (!left.is_empty() || !under_way.is_empty()) {
                if left.is_empty() || under_way.len() == BATCHES {
                    if let Some((count, answer)) = under_way.pop_front() {
                        match answer.await {
                            Ok(_) => done += count,
                            Err(e) => why = Some(multi_code(&e)),
                        }
                        self.deleted(done, total);
                    }
                    continue;
                }
                let mut writer = client.new_multi_writer();
                let (mut count, mut bytes) = (0, 0);
                while count < batch_max && bytes < BATCH_BYTES {
                    let Some((path, rest)) = left.split_last() else { break };
                    if let Err(e) = writer.add_delete(path, None) {
                        // The root: the crate does not ask; servers refuse the whole multi.
                        why = Some(Code::of(&e));
                        break;
                    }
                    left = rest;
                    count += 1;
                    bytes += path.len() + 64;
                }
                if why.is_none() {
                    under_way.push_back((count, Box::pin(writer.commit())));
                }
            }
            // Those behind a failed one are on their way already: their ends are waited for, not asked.
            for (_, answer) in under_way {
                let _ = answer.await;
            }
            if let Some(code) = why {
                self.screen.end_progress();
                return Err(failed().hint(format!("{}; `ls -R {path}` shows what is left", code.exception(""))));
            }
        }
        self.screen.end_progress();
        Ok(Answer { json: json!({ "path": path, "deleted": total }), ..Answer::default() })
    }

    fn deleted(&self, done: usize, total: usize) {
        if total > PROGRESS_EVERY {
            self.screen.progress(&format!("{done} of {total} znodes deleted …"));
        }
    }

    async fn list_breadth_first(&mut self, client: &Client, path: &str) -> Result<Vec<String>, Failure> {
        let mut tree = vec![path.to_owned()];
        let mut asked: VecDeque<(usize, Children<'_>)> = VecDeque::new();
        let mut next = 0;
        loop {
            while asked.len() < AHEAD && next < tree.len() {
                asked.push_back((next, Box::pin(client.list_children(&tree[next]))));
                next += 1;
            }
            let Some((at, answer)) = asked.pop_front() else { return Ok(tree) };
            let names = answer.await.map_err(|e| Failure::client(&e, &tree[at]))?;
            let parent = tree[at].clone();
            tree.extend(names.iter().map(|name| join(&parent, name)));
            if at % PROGRESS_EVERY == PROGRESS_EVERY - 1 {
                self.screen.progress(&format!("{} znodes found …", tree.len()));
            }
        }
    }

    /// `setAcl -R`. Source: `cli.SetAclCommand`; where Apache goes on and says so on one long line, this goes on, says it
    /// line by line and fails.
    pub(crate) async fn set_acl_tree(
        &mut self,
        client: &Client,
        path: &str,
        acl: &[Acl],
        version: Option<i32>,
    ) -> Result<Answer, Failure> {
        check_path(path, false)?;
        let mut walk = Walk::new(path);
        let (mut done, mut failures) = (0_usize, Vec::new());
        while let Some(at) = walk.next(client).await? {
            match client.set_acl(&at, acl, version).await {
                Ok(_) => done += 1,
                Err(e) => failures.push(Code::of(&e).exception(&at)),
            }
            if done > 0 && done.is_multiple_of(PROGRESS_EVERY) {
                self.screen.progress(&format!("{done} znodes …"));
            }
        }
        self.screen.end_progress();
        if failures.is_empty() {
            return Ok(Answer { json: json!({ "path": path, "changed": done }), ..Answer::default() });
        }
        Err(Failure::new(Kind::Other, failures.join("\n")).hint(format!("the other {done} znodes have the new list")))
    }
}

fn multi_code(error: &MultiWriteError) -> Code {
    match error {
        MultiWriteError::OperationFailed { source, .. } | MultiWriteError::RequestFailed { source } => Code::of(source),
    }
}

fn delete_failure(error: &Error, path: &str) -> Failure {
    Failure::client(error, path)
}

/// Siblings whose children are being asked for.
struct Level<'a> {
    paths: VecDeque<String>,
    asked: VecDeque<(String, Children<'a>)>,
}

impl<'a> Level<'a> {
    fn new(paths: Vec<String>) -> Self {
        Self { paths: paths.into(), asked: VecDeque::new() }
    }

    async fn next(&mut self, client: &'a Client) -> Option<(String, Result<Vec<String>, Error>)> {
        while self.asked.len() < AHEAD {
            let Some(path) = self.paths.pop_front() else { break };
            // The request goes out here; only its answer is waited for below.
            let answer = client.list_children(&path);
            self.asked.push_back((path, Box::pin(answer)));
        }
        let (path, answer) = self.asked.pop_front()?;
        Some((path, answer.await))
    }
}
