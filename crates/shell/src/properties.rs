//! `-client-configuration`: a Java properties file. What it asks for and the shell can't do is refused, not ignored.

use std::time::Duration;

/// What of it the shell uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientConfiguration {
    /// `zookeeper.request.timeout`: how long one command may take; none: as long as it takes.
    pub request_timeout: Option<Duration>,
}

/// Reads the file's text. The error names the line.
pub fn read(text: &str) -> Result<ClientConfiguration, String> {
    let mut configuration = ClientConfiguration::default();
    for (line, key, value) in pairs(text) {
        let no = |what: &str| Err(format!("line {line}: {key} = {value}: {what}"));
        let is_false = value.eq_ignore_ascii_case("false");
        match key.as_str() {
            "zookeeper.client.secure" | "zookeeper.sasl.client" if is_false => {}
            "zookeeper.client.secure" => return no("the shell can't speak TLS yet; use the server's plain port"),
            "zookeeper.request.timeout" => match value.parse::<u64>() {
                Ok(0) => {}
                Ok(ms) => configuration.request_timeout = Some(Duration::from_millis(ms)),
                Err(_) => return no("not a number of ms"),
            },
            "zookeeper.clientCnxnSocket" if value.ends_with("ClientCnxnSocketNetty") || value.ends_with("NIO") => {}
            _ if key.starts_with("zookeeper.ssl.") || key.starts_with("ssl.") => {
                return no("the shell can't speak TLS yet; use the server's plain port");
            }
            "zookeeper.sasl.client" | "zookeeper.sasl.clientconfig" | "zookeeper.sasl.client.username" => {
                return no("the shell can't do SASL yet; `addauth digest user:password` is another way to log in");
            }
            // Sizes, names and switches of Apache's client that have no counterpart here, and programs' own keys.
            _ => {}
        }
    }
    Ok(configuration)
}

/// The pairs of a properties file with the numbers of their lines: `#` and `!` begin remarks, `=`, `:` or a blank ends a
/// key, a backslash at its end goes on with the next line.
pub fn pairs(text: &str) -> Vec<(usize, String, String)> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().map_or("", |(_, next)| next.trim_start()));
        }
        let end = line.find(|c: char| matches!(c, '=' | ':') || c.is_ascii_whitespace()).unwrap_or(line.len());
        let (key, rest) = line.split_at(end);
        let rest = rest.trim_start();
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim();
        pairs.push((at + 1, key.to_owned(), value.to_owned()));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_used_and_keys_that_are_refused() {
        let text = "# a remark\nzookeeper.request.timeout = 1500\nzookeeper.client.secure=false\nmy.own: x\n";
        let expected = ClientConfiguration { request_timeout: Some(Duration::from_millis(1500)) };
        assert_eq!(read(text), Ok(expected));
        for text in [
            "zookeeper.client.secure=true",
            "a=b\nzookeeper.ssl.trustStore.location=/x",
            "zookeeper.sasl.client=true",
            "zookeeper.request.timeout=soon",
        ] {
            assert!(read(text).unwrap_err().starts_with("line "), "{text}");
        }
        assert_eq!(read("zookeeper.sasl.client=false"), Ok(ClientConfiguration::default()));
    }

    #[test]
    fn lines_go_on() {
        assert_eq!(pairs("a=b\\\n  c\nd e"), [(1, "a".into(), "bc".into()), (3, "d".into(), "e".into())]);
    }
}
