//! `envi`: what the process runs on, and the time zone that dates are printed in. Source: Apache `Environment.list`.

use std::fs;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use crate::four_letter::ZoneMoment;

/// What Java prints for a property that there is not.
const NOT_AVAILABLE: &str = "<NA>";

/// What there is not without a Java machine: printed as Java prints a property that is not set.
const JAVA: [&str; 7] = [
    "java.version",
    "java.vendor",
    "java.home",
    "java.class.path",
    "java.library.path",
    "java.io.tmpdir",
    "java.compiler",
];

/// The pairs of `envi`, in Apache's order. Looks up names, so it may block.
pub fn pairs(version: &str) -> Vec<(&'static str, String)> {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let (total_mb, resident_mb) = memory_mb();
    let user = User::current();
    let mut pairs = vec![("zookeeper.version", version.to_owned()), ("host.name", host_name(&text(uname.nodename())))];
    pairs.extend(JAVA.map(|key| (key, NOT_AVAILABLE.to_owned())));
    pairs.extend([
        ("os.name", text(uname.sysname())),
        ("os.arch", arch().to_owned()),
        ("os.version", text(uname.release())),
        ("user.name", user.name),
        ("user.home", user.home),
        ("user.dir", std::env::current_dir().map_or(NOT_AVAILABLE.to_owned(), |dir| dir.display().to_string())),
        ("os.memory.free", "0MB".to_owned()),
        ("os.memory.max", format!("{total_mb}MB")),
        ("os.memory.total", format!("{resident_mb}MB")),
    ]);
    pairs
}

/// Offset and name of the machine's time zone (`TZ`, `/etc/localtime`) at a moment in ms since 1970.
pub fn zone_at(ms: i64) -> ZoneMoment {
    let utc = || ZoneMoment { offset_s: 0, name: "UTC".to_owned() };
    let Ok(moment) = jiff::Timestamp::from_millisecond(ms) else { return utc() };
    let zone = jiff::tz::TimeZone::system();
    let info = zone.to_offset_info(moment);
    match info.abbreviation() {
        // Neither `TZ` nor a file says anything: Java takes UTC then.
        "Etc/Unknown" | "" => utc(),
        name => ZoneMoment { offset_s: info.offset().seconds(), name: name.to_owned() },
    }
}

/// Java's name of the processor.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "i386",
        other => other,
    }
}

/// The machine's name as its own `hosts` file spells it out, which is what Java finds first.
fn host_name(node: &str) -> String {
    let Some(address) = (node, 0).to_socket_addrs().ok().and_then(|mut all| all.next()) else {
        return NOT_AVAILABLE.to_owned();
    };
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    canonical(&hosts, address.ip()).unwrap_or_else(|| node.to_owned())
}

fn canonical(hosts: &str, address: IpAddr) -> Option<String> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        (words.next()?.parse() == Ok(address)).then(|| words.next().map(str::to_owned)).flatten()
    })
}

/// What the process may take, and what it has taken, in MB.
fn memory_mb() -> (u64, u64) {
    let kb = |path: &str, key: &str| -> Option<u64> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let machine = kb("/proc/meminfo", "MemTotal:").unwrap_or(0) / 1024;
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let resident = kb("/proc/self/status", "VmRSS:").unwrap_or(0) / 1024;
    (group.map_or(machine, |bytes| machine.min(bytes >> 20)), resident)
}

/// Who runs the process.
struct User {
    name: String,
    home: String,
}

impl User {
    /// As the machine's list of users says; `?` is what Java prints for one that is not in it.
    fn current() -> Self {
        let id = rustix::process::geteuid().as_raw();
        let list = fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
        Self::in_list(&list, id).unwrap_or_else(|| Self { name: "?".to_owned(), home: "?".to_owned() })
    }

    fn in_list(list: &str, id: u32) -> Option<Self> {
        list.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [name, _, user, _, _, home, ..] = fields[..] else { return None };
            (user.parse() == Ok(id)).then(|| Self { name: name.to_owned(), home: home.to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_hosts_and_users() {
        let hosts = "# 10.0.0.1 commented\n127.0.0.1 localhost\n10.0.0.1\tzk1.example.org zk1 # the first\n";
        assert_eq!(canonical(hosts, "10.0.0.1".parse().unwrap()).as_deref(), Some("zk1.example.org"));
        assert_eq!(canonical(hosts, "10.0.0.2".parse().unwrap()), None);
        let user =
            User::in_list("root:x:0:0:root:/root:/bin/sh\nzk:x:1000:1000::/var/lib/zk:/bin/false\n", 1000).unwrap();
        assert_eq!((user.name.as_str(), user.home.as_str()), ("zk", "/var/lib/zk"));
        assert!(User::in_list("nonsense\n::\n", 1000).is_none());
    }
}
