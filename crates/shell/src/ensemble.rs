//! The ensemble's configuration as text: what `config -c` makes of it, and what `reconfig -file` reads.

use std::path::Path;

use crate::failure::{Failure, Kind};
use crate::properties::pairs;

/// `version host:port,host:port`. Source: `ConfigUtils.getClientConfigStr`, which goes through a `Properties`: the
/// servers stand in the order of Java's hash table.
pub fn client_string(config: &str) -> String {
    let pairs = pairs(config);
    let mut buckets = 16;
    while pairs.len() * 4 >= buckets * 3 {
        buckets *= 2;
    }
    let mut servers: Vec<(usize, &str)> = Vec::new();
    let mut version = "";
    for (_, key, value) in &pairs {
        if key == "version" {
            version = value;
        } else if key.starts_with("server.") {
            servers.push((java_hash(key) as usize & (buckets - 1), value));
        }
    }
    servers.sort_by_key(|(bucket, _)| *bucket);
    let addresses: Vec<String> = servers.iter().map(|(_, value)| client_address(value)).collect();
    format!("{version} {}", addresses.join(","))
}

/// The client's part of `host:2888:3888:role;[host:]port`; empty without one.
fn client_address(server: &str) -> String {
    let Some((_, client)) = server.split_once(';') else { return String::new() };
    if client.contains(':') { client.to_owned() } else { format!("0.0.0.0:{client}") }
}

/// `String.hashCode`, spread as `ConcurrentHashMap` does.
fn java_hash(text: &str) -> u32 {
    let hash = text.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    (hash ^ (hash >> 16)) & 0x7fff_ffff
}

/// The members that a file names, as `reconfig` sends them.
pub fn members_of(file: &Path) -> Result<String, Failure> {
    let wrong = |why: String| Failure::new(Kind::Usage, format!("Error processing {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    let lines: Vec<String> = pairs(&text)
        .into_iter()
        .filter(|(_, key, _)| ["server.", "group", "weight"].iter().any(|it| key.starts_with(it)))
        .map(|(_, key, value)| format!("{key}={value}"))
        .collect();
    if lines.iter().all(|it| !it.starts_with("server.")) {
        return Err(wrong("no line server.N=host:port:port".to_owned()));
    }
    Ok(lines.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_string() {
        let config = "server.1=a:2:3:participant;0.0.0.0:2181\nserver.2=b:2:3:observer;2182\nversion=100000000";
        // As Apache's ConfigUtils printed it.
        assert_eq!(client_string(config), "100000000 0.0.0.0:2182,0.0.0.0:2181");
        assert_eq!(client_string(""), " ");
        assert_eq!(client_string("server.1=a:2:3"), " ");
    }

    #[test]
    fn javas_order_of_many() {
        let lines: Vec<String> = (1..=20).map(|id| format!("server.{id}=h:2:3;{}\n", 1000 + id)).collect();
        let config = lines.concat();
        // As Apache's ConfigUtils printed it.
        let ports = [
            1018, 1019, 1016, 1017, 1010, 1011, 1020, 1002, 1014, 1001, 1015, 1012, 1013, 1006, 1005, 1004, 1003, 1009,
            1008, 1007,
        ];
        let expected: Vec<_> = ports.iter().map(|port| format!("0.0.0.0:{port}")).collect();
        assert_eq!(client_string(&(config + "version=7\n")), format!("7 {}", expected.join(",")));
    }

    #[test]
    fn a_file_of_members() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("members");
        std::fs::write(&file, "# new\nserver.1=a:1:2;3\ntickTime=2000\nserver.2=b:1:2;3\n").unwrap();
        assert_eq!(members_of(&file).unwrap(), "server.1=a:1:2;3,server.2=b:1:2;3");
        std::fs::write(&file, "tickTime=2000\n").unwrap();
        assert!(members_of(&file).unwrap_err().text.starts_with("Error processing "));
    }
}
