//! A real Apache ZooKeeper server, of the release named in `conformance/java/pom.xml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, bail};

use crate::jvm;
use crate::paths::{target, workspace};
use crate::process::Process;
use crate::server::{self, Options};

/// What to say when a tool is missing.
pub(crate) const INSTALL: &str =
    "a JDK 17 and Maven are needed; on Debian: apt-get install maven openjdk-17-jdk-headless";

/// One thread of this process asks Maven or the compiler at a time.
pub(crate) static TOOLS: Mutex<()> = Mutex::new(());

/// A running Apache ZooKeeper server.
#[derive(Debug)]
pub struct Server(Process);

impl Server {
    /// Starts one: 1 GB of heap, no AdminServer, every four-letter word.
    pub fn start(options: &Options) -> Result<Self> {
        let classpath = classpath()?;
        let process = Process::start(options, |cfg| {
            let mut java = Command::new("java");
            java.args(jvm::flags())
                .args(["-Xmx1g", "-Dzookeeper.audit.enable=false"])
                .arg(logging())
                .args(&options.jvm)
                .args(["-cp", &classpath, "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
                .arg(cfg);
            java
        });
        process.map(Self).context("an Apache ZooKeeper server")
    }
}

impl server::Server for Server {
    fn name(&self) -> &'static str {
        "Apache ZooKeeper 3.9.5"
    }

    fn process(&self) -> &Process {
        &self.0
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

/// The flag that names our logging configuration.
pub(crate) fn logging() -> String {
    format!("-Dlogback.configurationFile={}", java_dir().join("logback.xml").display())
}

/// Where the Java sources and the list of dependencies lie.
pub(crate) fn java_dir() -> PathBuf {
    workspace().join("conformance/java")
}

/// The class path of Apache ZooKeeper and all it needs.
///
/// Maven is asked once, and again when `pom.xml` has changed or a file has gone; the answer is kept in `target/apache`.
pub fn classpath() -> Result<String> {
    let _one = TOOLS.lock().map_err(|_| anyhow!("another thread failed while asking Maven"))?;
    let pom = java_dir().join("pom.xml");
    let kept = target().join("apache/classpath.txt");
    if let Some(classpath) = kept_classpath(&kept, &pom) {
        return Ok(classpath);
    }
    let dir = target().join("apache");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let fresh = dir.join(format!("classpath.{}.tmp", std::process::id()));
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:build-classpath", "-f"])
        .arg(&pom)
        .arg(format!("-Dmdep.outputFile={}", fresh.display()))
        .output()
        .with_context(|| format!("mvn cannot be started: {INSTALL}"))?;
    if !output.status.success() {
        bail!(
            "mvn could not resolve {}; is Maven Central reachable? It said:\n{}{}",
            pom.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::rename(&fresh, &kept).with_context(|| format!("writing {}", kept.display()))?;
    kept_classpath(&kept, &pom).with_context(|| format!("{} names files that do not exist", kept.display()))
}

/// The answer kept from an earlier run, if it is younger than the list of dependencies and each file is there.
fn kept_classpath(kept: &Path, pom: &Path) -> Option<String> {
    let when = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    if when(kept)? < when(pom)? {
        return None;
    }
    let text = fs::read_to_string(kept).ok()?;
    let classpath = text.trim();
    let complete = !classpath.is_empty() && classpath.split(':').all(|it| Path::new(it).exists());
    complete.then(|| classpath.to_owned())
}
