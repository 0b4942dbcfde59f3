//! Connect strings: `host:port,host:port/chroot`. Source: `client.ConnectStringParser`.

use crate::path;

/// The port of a host without one.
const PORT: u16 = 2181;

/// A connect string taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// As it was given; shown in the prompt.
    pub text: String,
    /// The servers.
    pub servers: Vec<(String, u16)>,
    /// The path that all paths are below; empty: none.
    pub chroot: String,
}

impl Hosts {
    /// Takes it apart, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: String| format!("{text}: {what}; give host:port[,host:port…][/chroot]");
        let (servers, chroot) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        path::validate(if chroot.is_empty() { "/" } else { chroot }, false)
            .map_err(|why| wrong(format!("the chroot: {why}")))?;
        let mut list = Vec::new();
        for server in servers.split(',') {
            let (host, port) = match server.strip_prefix('[').and_then(|it| it.split_once(']')) {
                Some((host, port)) => (host, port),
                None => server.rsplit_once(':').map_or((server, ""), |(host, _)| (host, &server[host.len()..])),
            };
            if host.is_empty() {
                return Err(wrong("a host is missing".to_owned()));
            }
            let port = match port.strip_prefix(':').unwrap_or(port) {
                "" => PORT,
                digits => digits
                    .parse()
                    .ok()
                    .filter(|it| *it != 0)
                    .ok_or_else(|| wrong(format!("{digits} is no port: 1 to 65535")))?,
            };
            list.push((host.to_owned(), port));
        }
        let chroot = if chroot == "/" { String::new() } else { chroot.to_owned() };
        Ok(Self { text: text.to_owned(), servers: list, chroot })
    }

    /// For the client library: as given, but with every port, and without a chroot of `/`.
    pub fn connect_string(&self) -> String {
        let server = |(host, port): &(String, u16)| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        self.servers.iter().map(server).collect::<Vec<_>>().join(",") + &self.chroot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<(String, u16)> {
        Hosts::parse(text).unwrap().servers
    }

    #[test]
    fn hosts_ports_and_chroot() {
        assert_eq!(list("a:1"), [("a".to_owned(), 1)]);
        assert_eq!(list("a,b:2/x"), [("a".to_owned(), 2181), ("b".to_owned(), 2)]);
        assert_eq!(list("[::1]:5"), [("::1".to_owned(), 5)]);
        assert_eq!(list("[::1]"), [("::1".to_owned(), 2181)]);
        assert_eq!(Hosts::parse("a,[::1]/x/y").unwrap().connect_string(), "a:2181,[::1]:2181/x/y");
        assert_eq!(Hosts::parse("a/").unwrap().chroot, "");
    }

    #[test]
    fn what_is_wrong() {
        for text in ["", ":2181", "a,,b", "a:0", "a:99999", "a:x", "a/b/", "a//b"] {
            assert!(Hosts::parse(text).is_err(), "{text}");
        }
    }
}
