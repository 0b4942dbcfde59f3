//! The files of configurations, beside `zoo.cfg`: what a reconfig has to leave on the disk.
//!
//! | file | what |
//! |---|---|
//! | `zoo.cfg` | without members, and with `dynamicConfigFile` as its last line, once a configuration was committed |
//! | `zoo.cfg.bak` | as it was at the last start that found members in it |
//! | `zoo.cfg.dynamic.V` | the configuration that was committed with the version V, a hexadecimal number |
//! | `zoo.cfg.dynamic.next` | one that was seen, and not committed yet |
//!
//! Each is written beside its place, synced, and moved there. What the log says counts more: a start reads there what these
//! files may lack. Unlike Apache, which writes `zoo.cfg` anew from a hash table, its comments and its order stay.
//!
//! Source: Apache `QuorumPeerConfig.writeDynamicConfig`, `editStaticConfig`, `backupOldConfig`; `QuorumPeer.setQuorumVerifier`,
//! `setLastSeenQuorumVerifier`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wire::{ServerId, properties};
use zab::{QuorumVerifier, Quorums};

/// Where the configurations of one server are written.
#[derive(Debug)]
pub struct DynamicFiles {
    /// `zoo.cfg`, its whole path.
    cfg: PathBuf,
    me: ServerId,
    /// The version that the files have.
    version: i64,
}

impl DynamicFiles {
    /// Beside this `zoo.cfg`, which has the configuration of this version.
    ///
    /// # Errors
    /// There is no such file.
    pub fn new(cfg: &Path, me: ServerId, version: i64) -> io::Result<Self> {
        Ok(Self { cfg: fs::canonicalize(cfg)?, me, version })
    }

    /// Keeps `zoo.cfg` as the operator wrote it.
    ///
    /// # Errors
    /// The copy can't be written.
    pub fn back_up(&self) -> io::Result<()> {
        let text = fs::read(&self.cfg)?;
        replace(&self.with_ending(".bak"), &text, Some(&self.cfg))
    }

    /// These configurations hold now.
    ///
    /// # Errors
    /// A file can't be written. Those before it in the order of the table's last line to its first are.
    pub fn write(&mut self, quorums: &Quorums) -> io::Result<()> {
        if let Some(next) = quorums.newer() {
            replace(&self.with_ending(".dynamic.next"), lines(next, true).as_bytes(), None)?;
        }
        let committed = quorums.committed();
        if committed.version() > self.version {
            let dynamic = self.with_ending(&format!(".dynamic.{:x}", committed.version()));
            replace(&dynamic, lines(committed, false).as_bytes(), None)?;
            let drops_client = committed.member(self.me).is_some_and(|it| it.client.is_some() && !it.client_is_static);
            let text = without_members(&fs::read(&self.cfg)?, drops_client, &dynamic)?;
            replace(&self.cfg, &text, Some(&self.cfg))?;
            self.version = committed.version();
        }
        if quorums.newer().is_none() {
            match fs::remove_file(self.with_ending(".dynamic.next")) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    fn with_ending(&self, ending: &str) -> PathBuf {
        with_ending(&self.cfg, ending)
    }
}

/// Where the next configuration stands while it is not committed.
pub(crate) fn next_of(cfg: &Path) -> PathBuf {
    with_ending(cfg, ".dynamic.next")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// The lines of a configuration, sorted, without a line end behind the last one.
fn lines(verifier: &QuorumVerifier, with_version: bool) -> String {
    let text = verifier.to_string();
    let mut lines: Vec<&str> = text.lines().filter(|line| with_version || !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// `zoo.cfg` with the name of the file that its members are in, instead of them. Comments and the order stay.
fn without_members(text: &[u8], drops_client: bool, dynamic: &Path) -> io::Result<Vec<u8>> {
    let entries = properties::parse_file(text)
        .map_err(|bad| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {}: \\u without four digits", bad.line))
        })?
        .entries;
    let goes = |key: &str| {
        ["server.", "group", "weight", "dynamicConfigFile", "peerType"].iter().any(|it| key.starts_with(it))
            || drops_client && ["clientPort", "clientPortAddress"].contains(&key)
    };
    let gone: BTreeSet<usize> = entries.iter().filter(|it| goes(&it.key)).map(|it| it.line).collect();
    let mut out = Vec::with_capacity(text.len());
    let (mut goes_on, mut is_gone) = (false, false);
    for (number, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if !goes_on {
            is_gone = gone.contains(&(number + 1));
        }
        let content = line.trim_ascii_end();
        let is_comment = !goes_on && matches!(content.trim_ascii_start().first(), None | Some(b'#' | b'!'));
        let backslashes = content.iter().rev().take_while(|&&byte| byte == b'\\').count();
        goes_on = !is_comment && !backslashes.is_multiple_of(2);
        if !is_gone {
            out.extend_from_slice(line);
        }
    }
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    out.extend_from_slice(b"dynamicConfigFile=");
    out.extend_from_slice(dynamic.as_os_str().as_encoded_bytes());
    out.push(b'\n');
    Ok(out)
}

/// Writes a file that is whole or not there at all, with the permissions of another one.
fn replace(path: &Path, content: &[u8], like: Option<&Path>) -> io::Result<()> {
    let beside = with_ending(path, ".tmp");
    let mut file = File::create(&beside)?;
    if let Some(like) = like {
        file.set_permissions(fs::metadata(like)?.permissions())?;
    }
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::sync::Arc;

    use zab::quorum_verifier::TextRules;

    use super::*;

    const CFG: &str = "# our servers\ntickTime=2000\nserver.1=a:1:2\nserver.2 = b:1:\\\n   2\n! ports\nclientPort=2181\n\
                       peerType=participant\nclientPortListenBacklog=9\ndataDir=/data";

    fn verifier(version: i64, role: &str) -> Arc<QuorumVerifier> {
        let text = format!("server.2=b:1:2:{role};2181\nserver.1=a:1:2\nserver.3=c:1:2\nversion={version:x}");
        Arc::new(QuorumVerifier::parse(&text, TextRules::default()).unwrap())
    }

    fn files(dir: &tempfile::TempDir) -> (DynamicFiles, PathBuf) {
        let cfg = dir.path().join("zoo.cfg");
        fs::write(&cfg, CFG).unwrap();
        (DynamicFiles::new(&cfg, ServerId(2), 0).unwrap(), fs::canonicalize(&cfg).unwrap())
    }

    #[test]
    fn what_is_seen_and_what_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut files, cfg) = files(&dir);
        let read = |ending: &str| fs::read_to_string(with_ending(&cfg, ending));
        files.back_up().unwrap();
        assert_eq!(read(".bak").unwrap(), CFG);

        files.write(&Quorums::new(verifier(0, "observer"), Some(verifier(0x1_0000_0000, "observer")))).unwrap();
        let next = read(".dynamic.next").unwrap();
        assert_eq!(
            next,
            "server.1=a:1:2:participant\nserver.2=b:1:2:observer;0.0.0.0:2181\nserver.3=c:1:2:participant\n\
             version=100000000"
        );
        assert_eq!(read("").unwrap(), CFG, "nothing is committed");

        files.write(&Quorums::new(verifier(0x1_0000_0000, "observer"), None)).unwrap();
        assert!(read(".dynamic.next").is_err());
        assert_eq!(format!("{}\nversion=100000000", read(".dynamic.100000000").unwrap()), next);
        let expected = format!(
            "# our servers\ntickTime=2000\n! ports\nclientPortListenBacklog=9\ndataDir=/data\ndynamicConfigFile={}.dynamic.100000000\n",
            cfg.display()
        );
        assert_eq!(read("").unwrap(), expected);

        // The next one replaces the line, and an older one nothing.
        files.write(&Quorums::new(verifier(0x1_0000_0004, "participant"), None)).unwrap();
        let text = read("").unwrap();
        assert!(text.ends_with(".dynamic.100000004\n") && text.matches("dynamicConfigFile").count() == 1, "{text}");
        files.write(&Quorums::new(verifier(0x1_0000_0000, "observer"), None)).unwrap();
        assert_eq!(read("").unwrap(), text);
    }

    #[test]
    fn a_client_port_that_no_line_names_stays() {
        let text = without_members(CFG.as_bytes(), false, Path::new("/d")).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("\nclientPort=2181\n"));
    }
}
