//! Java machines of the tests that start quickly: with an archive of the classes that Apache's server and its shell load,
//! the simpler of the two compilers and the simplest collector. A start costs less than half of the CPU then.
//!
//! Measurements don't use this: they start Apache as its users do.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::apache;
use crate::paths::target;
use crate::server::{Options, Server};

/// The environment variable with the flags that each Java machine of a test gets, between blanks.
pub const VARIABLE: &str = "OSTLER_TEST_JVM";

/// The flags in [`VARIABLE`].
pub fn flags() -> Vec<String> {
    std::env::var(VARIABLE).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
}

/// What [`VARIABLE`] should hold. Makes the archive under `target/apache` where it is missing or older than the list of
/// what is in the class path: some seconds.
///
/// # Errors
/// Java is missing, or Apache's server does not start.
pub fn quick() -> Result<String> {
    let quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";
    let archive = target().join("apache/classes.jsa");
    let classpath = apache::classpath()?;
    let when = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if when(&archive) <= when(&target().join("apache/classpath.txt")) {
        make(&archive, &classpath)?;
    }
    // Blanks separate flags: without the archive, a start is only slower.
    let name = archive.display().to_string();
    if name.contains(char::is_whitespace) {
        return Ok(quick.to_owned());
    }
    Ok(format!("{quick} -XX:SharedArchiveFile={name}"))
}

fn make(archive: &Path, classpath: &str) -> Result<()> {
    let dir = tempfile::tempdir_in(target().join("apache"))?;
    let lists = ["server", "shell"].map(|it| dir.path().join(it));
    let [server_list, shell_list] = lists.each_ref().map(|it| format!("-XX:DumpLoadedClassList={}", it.display()));
    let mut server = apache::Server::start(&Options::new(dir.path().join("run")).jvm(server_list))?;
    let shell = Command::new("java")
        .args([&shell_list, "-cp", classpath, "org.apache.zookeeper.ZooKeeperMain", "-server"])
        .args([&server.addr().to_string(), "ls", "/"])
        .output()
        .context("java cannot be started")?;
    ensure!(shell.status.success(), "Apache's shell failed: {}", String::from_utf8_lossy(&shell.stderr));
    server.process_mut().stop()?;

    let all = dir.path().join("all");
    let mut text = String::new();
    for list in &lists {
        text += &fs::read_to_string(list).with_context(|| format!("reading {}", list.display()))?;
    }
    fs::write(&all, text)?;
    let fresh = dir.path().join("classes.jsa");
    let said = File::create(dir.path().join("said"))?;
    let flag = |name: &str, path: &Path| {
        let mut flag = OsString::from(name);
        flag.push(path);
        flag
    };
    let status = Command::new("java")
        .args(["-Xshare:dump", "-XX:+UseSerialGC"])
        .arg(flag("-XX:SharedClassListFile=", &all))
        .arg(flag("-XX:SharedArchiveFile=", &fresh))
        .args(["-cp", classpath])
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .status()
        .context("java cannot be started")?;
    ensure!(status.success(), "java made no archive of classes: {}", fs::read_to_string(dir.path().join("said"))?);
    fs::rename(&fresh, archive).with_context(|| format!("writing {}", archive.display()))
}
