//! The line at the prompt: editing, history, completion of commands, flags and live paths.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use tokio::runtime::Handle;
use zookeeper_client::Client;

use crate::command::{SPECS, Spec};
use crate::path::join;
use crate::printable::is_harmless;
use crate::run::has_secrets;
use crate::screen::Screen;
use crate::session::Live;
use crate::terminal;
use crate::words::last_word;

/// Of a znode with more children than this nothing is completed: the list would be long on its way.
const CHILDREN_MAX: i32 = 5000;
/// How long completion may ask.
const ASK_LIMIT: Duration = Duration::from_millis(700);
/// How many lines are kept.
const HISTORY_MAX: usize = 1000;

/// The line editor.
pub struct LineEditor {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

/// What came of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line.
    Text(String),
    /// Ctrl-C: the line was given up.
    GivenUp,
    /// Ctrl-D.
    End,
    /// The terminal is gone: its window was closed.
    HungUp,
    /// It can't be read: why. It is dropped, and so is what came with it.
    Dropped(&'static str),
}

impl LineEditor {
    /// One on the process's terminal.
    pub fn new(live: Live, handle: Handle, screen: &Arc<Screen>) -> Result<Self, ReadlineError> {
        let config = Config::builder()
            .max_history_size(HISTORY_MAX)?
            .history_ignore_dups(true)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            // No question whether to show a long list: nothing but its own keys leads out of it. The pager can be left.
            .completion_prompt_limit(usize::MAX)
            .build();
        let mut editor = Editor::<Assistant, FileHistory>::with_config(config)?;
        editor.set_helper(Some(Assistant { live, handle, screen: screen.clone() }));
        let history = history_file();
        if let Some(file) = &history {
            // No file yet, or one that can't be read: no old lines.
            let _ = editor.load_history(file);
        }
        if let Ok(printer) = editor.create_external_printer() {
            screen.events_to(printer);
        }
        Ok(Self { editor, history })
    }

    /// Reads a line; pasted text may bring several.
    pub fn read(&mut self, prompt: &str) -> Result<Line, ReadlineError> {
        use std::io::ErrorKind;
        terminal::editing(|| match self.editor.readline(prompt) {
            Ok(line) => Ok(Line::Text(line)),
            Err(ReadlineError::Interrupted) => Ok(Line::GivenUp),
            // At a terminal that is gone a read, or the change of a mode, may end or fail in any way.
            Err(ReadlineError::Eof | ReadlineError::Io(_)) if terminal::is_gone() => Ok(Line::HungUp),
            Err(ReadlineError::Errno(_)) if terminal::is_gone() => Ok(Line::HungUp),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(ReadlineError::Io(e)) if e.kind() == ErrorKind::UnexpectedEof => Ok(Line::End),
            Err(ReadlineError::Io(e)) if e.kind() == ErrorKind::InvalidData => {
                terminal::drop_input();
                Ok(Line::Dropped("no UTF-8: the line is dropped; set the terminal to UTF-8"))
            }
            // In the midst of pasted text; anywhere else the editor goes on.
            Err(ReadlineError::Signal(_)) => {
                terminal::drop_input();
                Ok(Line::Dropped("the window changed its size in the midst of a key or a paste: the line is dropped"))
            }
            Err(e) => Err(e),
        })
    }

    /// Keeps a line, here and in the file; one with a password nowhere.
    pub fn keep(&mut self, line: &str) {
        if has_secrets(line) {
            return;
        }
        if matches!(self.editor.add_history_entry(line), Ok(true))
            && let Some(file) = &self.history
        {
            // A full disk must not end the session. The file's mode is 0600: rustyline sees to it.
            let _ = self.editor.append_history(file);
        }
    }
}

/// `$XDG_STATE_HOME/ostler/shell_history`, in a directory for the user alone. None where there is no home.
fn history_file() -> Option<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let dir = state.join("ostler");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
    Some(dir.join("shell_history"))
}

/// Knows what may come next.
struct Assistant {
    live: Live,
    handle: Handle,
    screen: Arc<Screen>,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..pos).unwrap_or(line);
        let (start, word) = last_word(before);
        let quoted = before[..start].ends_with(['"', '\'']);
        let mut candidates = match candidates_without_server(before, start, word) {
            Some(candidates) => candidates,
            None => self.paths(word),
        };
        // A name with a blank can only be gone on with inside quotes. The line is written to the terminal as it is, so
        // a name that can't be shown as it is has no place in it.
        candidates.retain(|it| quoted || !it.replacement.contains([' ', '"', '\'']));
        candidates.retain(|it| it.replacement.chars().all(is_harmless));
        Ok((start, candidates))
    }
}

/// Commands, flags and fixed words; `None` where paths stand.
fn candidates_without_server(before: &str, start: usize, word: &str) -> Option<Vec<Pair>> {
    let same = |it: &str| Pair { display: it.to_owned(), replacement: it.to_owned() };
    let fitting = |all: &[&str]| all.iter().filter(|it| it.starts_with(word)).map(|it| same(it)).collect();
    let names: Vec<&str> = SPECS.iter().map(|it| it.name).collect();
    let mut words = before[..start].split_whitespace();
    let Some(first) = words.next() else { return Some(fitting(&names)) };
    let Some(spec) = Spec::find(first) else { return Some(Vec::new()) };
    match (spec.name, words.next_back()) {
        ("help", _) => return Some(fitting(&names)),
        ("printwatches", _) => return Some(fitting(&["on", "off"])),
        ("addWatch", Some("-m")) => return Some(fitting(&["PERSISTENT", "PERSISTENT_RECURSIVE"])),
        ("addauth", None) => return Some(fitting(&["digest", "ip"])),
        _ => {}
    }
    if word.starts_with('-') {
        let pair = |it: &crate::flags::Flag| Pair {
            display: format!("-{} ({})", it.name, it.about),
            replacement: format!("-{}", it.name),
        };
        let flags = spec.flags.iter().map(pair).filter(|it| it.replacement.starts_with(word));
        return Some(flags.collect());
    }
    if word.starts_with('/') {
        return None;
    }
    Some(if word.is_empty() && spec.usage.contains("path") { vec![same("/")] } else { Vec::new() })
}

impl Assistant {
    /// Children whose path begins with `word`.
    fn paths(&self, word: &str) -> Vec<Pair> {
        let Some(client) = self.live.client() else { return Vec::new() };
        let asking = async { tokio::time::timeout(ASK_LIMIT, self.ask(&client, word)).await };
        self.handle.block_on(asking).unwrap_or_default()
    }

    async fn ask(&self, client: &Client, word: &str) -> Vec<Pair> {
        let Some(at) = word.rfind('/') else { return Vec::new() };
        let (dir, begun) = (if at == 0 { "/" } else { &word[..at] }, &word[at + 1..]);
        let Ok(Some(stat)) = client.check_stat(dir).await else { return Vec::new() };
        if stat.num_children > CHILDREN_MAX {
            self.screen.event(format!("{dir} has {} children: too many to complete\n", stat.num_children));
            return Vec::new();
        }
        let Ok(mut names) = client.list_children(dir).await else { return Vec::new() };
        names.retain(|it| it.starts_with(begun));
        names.sort();
        if let [only] = names.as_slice()
            && only == begun
        {
            // The word is whole: go on below it, if there is anything.
            let below = client.check_stat(word).await;
            if matches!(below, Ok(Some(it)) if it.num_children > 0) {
                let path = format!("{word}/");
                return vec![Pair { display: path.clone(), replacement: path }];
            }
        }
        let pair = |it: String| Pair { replacement: join(dir, &it), display: it };
        names.into_iter().map(pair).collect()
    }
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        if !self.screen.out_color {
            return Cow::Borrowed(prompt);
        }
        let color = if prompt.contains("(CONNECTED)") { "32" } else { "33" };
        match (prompt.find('('), prompt.rfind(')')) {
            (Some(open), Some(close)) if open < close => {
                let (before, state, behind) = (&prompt[..=open], &prompt[open + 1..close], &prompt[close..]);
                Cow::Owned(format!("{before}\x1b[{color}m{state}\x1b[0m{behind}"))
            }
            _ => Cow::Borrowed(prompt),
        }
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Validator for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(before: &str) -> Option<Vec<String>> {
        let (start, word) = last_word(before);
        Some(candidates_without_server(before, start, word)?.into_iter().map(|it| it.replacement).collect())
    }

    #[test]
    fn commands_flags_and_words() {
        assert_eq!(offered("get").unwrap(), ["get", "getAcl", "getAllChildrenNumber", "getEphemerals"]);
        assert_eq!(offered("").unwrap().len(), SPECS.len());
        assert_eq!(offered("create -").unwrap(), ["-e", "-s", "-c", "-t"]);
        assert_eq!(offered("printwatches o").unwrap(), ["on", "off"]);
        assert_eq!(offered("addWatch -m ").unwrap(), ["PERSISTENT", "PERSISTENT_RECURSIVE"]);
        assert_eq!(offered("help setA").unwrap(), ["setAcl"]);
        assert_eq!(offered("get ").unwrap(), ["/"]);
        assert_eq!(offered("get /a"), None, "a path");
        assert_eq!(offered("nonsense -").unwrap(), Vec::<String>::new());
    }
}
