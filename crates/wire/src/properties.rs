//! Java's properties format, in which `zoo.cfg`, the files of the dynamic configuration, and the configurations that
//! servers send to each other are written.
//!
//! In: a text. Out: its entries in their order, each with the line on which it starts.
//!
//! ```text
//! # a comment, also with !
//! key=value     key : value     key value      three ways to write the same
//! path=/a\      a backslash at the end of a line joins the next one,
//!      /b       whose leading blanks are dropped: path is /a/b
//! e=\u00e4\t\=  escapes, in keys and in values
//! ```
//!
//! The bytes of a file are read as ISO 8859-1, because `Properties.load(InputStream)` does so: a path written in UTF-8
//! names the same (odd) directory here and there. [`Properties::first_non_ascii_line`] lets the caller say it. What
//! comes from another server is UTF-8.

/// One `key = value` of the file, trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Line on which the entry starts, from 1.
    pub line: usize,
    /// What is named.
    pub key: String,
    /// What it is said to be; empty if nothing.
    pub value: String,
}

/// A file that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// In file order, duplicates included (Java keeps the last).
    pub entries: Vec<Entry>,
    /// The first line that holds a byte above 127.
    pub first_non_ascii_line: Option<usize>,
}

/// The one thing that this format can get wrong: `\u` without four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedEscape {
    /// Line on which the entry starts, from 1.
    pub line: usize,
}

/// Reads a whole file.
pub fn parse_file(bytes: &[u8]) -> Result<Properties, MalformedEscape> {
    let text: String = bytes.iter().copied().map(char::from).collect();
    parse(&text)
}

/// Reads a whole text.
pub fn parse(text: &str) -> Result<Properties, MalformedEscape> {
    let mut properties = Properties::default();
    let mut lines = Lines { rest: text, line: 0 };
    while let Some((line, logical)) = lines.next_logical() {
        if properties.first_non_ascii_line.is_none() && !logical.is_ascii() {
            properties.first_non_ascii_line = Some(line);
        }
        let (key, value) = split(&logical);
        let malformed = MalformedEscape { line };
        let key = unescape(key).ok_or(malformed)?;
        let value = unescape(value).ok_or(malformed)?;
        properties.entries.push(Entry { line, key: trim(&key).to_owned(), value: trim(&value).to_owned() });
    }
    Ok(properties)
}

/// As `String.trim`: what is a blank or below it goes, at both ends.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Cuts a text into logical lines: comments and blank lines dropped, continuations joined.
struct Lines<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    fn next_logical(&mut self) -> Option<(usize, String)> {
        loop {
            let natural = self.next_natural()?;
            let start = self.line;
            let content = skip_blanks(natural);
            if content.is_empty() || is_comment(content) {
                continue;
            }
            let mut logical = content.to_owned();
            while ends_with_continuation(&logical) {
                logical.pop();
                let Some(next) = self.next_natural() else { break };
                let next = skip_blanks(next);
                // Nothing but continuations so far: a comment can still begin, and ends the line (from Java 9 on).
                if logical.is_empty() && is_comment(next) {
                    break;
                }
                logical.push_str(next);
            }
            // A line of nothing but continuations and blanks is a blank line.
            if !logical.is_empty() {
                return Some((start, logical));
            }
        }
    }

    /// The next line without its terminator: `\n`, `\r` or both.
    fn next_natural(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])).unwrap_or(rest);
        Some(line)
    }
}

fn skip_blanks(line: &str) -> &str {
    line.trim_start_matches(is_blank)
}

fn is_comment(content: &str) -> bool {
    content.starts_with(['#', '!'])
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn ends_with_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank; one separator may be surrounded by blanks.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical
        .find(|c| {
            let here = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
            escaped = c == '\\' && !escaped;
            here
        })
        .unwrap_or(logical.len());
    let (key, rest) = logical.split_at(end);
    let value = skip_blanks(rest);
    (key, value.strip_prefix(['=', ':']).map_or(value, skip_blanks))
}

/// Resolves escapes. `None`: a `\u` without four hexadecimal digits.
fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        match chars.next() {
            Some('t') => units.push(0x09),
            Some('n') => units.push(0x0a),
            Some('f') => units.push(0x0c),
            Some('r') => units.push(0x0d),
            Some('u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    unit = unit * 16 + chars.next()?.to_digit(16)?;
                }
                units.push(unit as u16);
            }
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
            None => {}
        }
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text).unwrap().entries.into_iter().map(|e| (e.line, e.key, e.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{text:?} -> {all:?}");
        let (_, key, value) = all.remove(0);
        (key, value)
    }

    #[test]
    fn separators() {
        for text in ["a=b", "a = b", "a:b", "a : b", "a b", "  a\t b  ", "a\x0cb", "a=b\r\n", "a=b\r"] {
            assert_eq!(one(text), ("a".into(), "b".into()), "{text:?}");
        }
        assert_eq!(one("a==b"), ("a".into(), "=b".into()));
        assert_eq!(one("a:=b"), ("a".into(), "=b".into()));
        assert_eq!(one("a = : b"), ("a".into(), ": b".into()));
        assert_eq!(one("a"), ("a".into(), String::new()));
        assert_eq!(one("=b"), (String::new(), "b".into()));
        assert_eq!(one("a=b # no comment here"), ("a".into(), "b # no comment here".into()));
    }

    #[test]
    fn comments_and_blank_lines() {
        assert_eq!(pairs("# x=1\n! y=2\n\n   \t\n  # z\na=b"), vec![(6, "a".into(), "b".into())]);
        // A comment cannot be continued.
        assert_eq!(one("# x \\\na=b"), ("a".into(), "b".into()));
    }

    #[test]
    fn continuation_lines() {
        assert_eq!(pairs("a=b\\\n   c\nd=e"), vec![(1, "a".into(), "bc".into()), (3, "d".into(), "e".into())]);
        // An even number of backslashes is data.
        assert_eq!(one("a=b\\\\"), ("a".into(), "b\\".into()));
        // What continues a line is never a comment; the blanks before it go.
        assert_eq!(one("a=b,\\\r\n  # c"), ("a".into(), "b,# c".into()));
        assert_eq!(one("a=b\\"), ("a".into(), "b".into()));
        assert_eq!(pairs("\\\n#x=1\na=b"), vec![(3, "a".into(), "b".into())]);
        assert_eq!(pairs("\\\n\\\n"), vec![]);
        // A blank line ends a continuation, and is joined as nothing.
        assert_eq!(pairs("a=b\\\n\nc=d"), vec![(1, "a".into(), "b".into()), (3, "c".into(), "d".into())]);
    }

    #[test]
    fn escapes() {
        assert_eq!(one("a\\=b\\ c=d"), ("a=b c".into(), "d".into()));
        assert_eq!(one("a=x\\ty\\nz\\:\\q"), ("a".into(), "x\ty\nz:q".into()));
        assert_eq!(one("\\u0061=\\u00e4\\uD83D\\uDE00"), ("a".into(), "ä😀".into()));
        assert_eq!(parse("ok=1\nb=\\u12g4"), Err(MalformedEscape { line: 2 }));
        assert_eq!(parse("b=\\u12"), Err(MalformedEscape { line: 1 }));
        // A Windows path loses its backslashes, in Java too.
        assert_eq!(one("dataDir=C:\\zookeeper\\data"), ("dataDir".into(), "C:zookeeperdata".into()));
    }

    #[test]
    fn bytes_are_latin_1() {
        let read = parse_file(b"a=1\nb=\xc3\xa4").unwrap();
        assert_eq!(read.entries[1].value, "\u{c3}\u{a4}");
        assert_eq!(read.first_non_ascii_line, Some(2));
        assert_eq!(one("b=\u{e4}\\\u{e4}"), ("b".into(), "\u{e4}\u{e4}".into()), "what is a text already stays one");
    }

    #[test]
    fn duplicates_stay_in_order() {
        assert_eq!(pairs("a=1\na=2").len(), 2);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_file(&bytes);
        }

        #[test]
        fn noisy_files_never_panic(text in "[ab=: \\\\\\n\\r\\t#!u01f]{0,200}") {
            if let Ok(read) = parse(&text) {
                let lines = text.split(['\n', '\r']).count();
                prop_assert!(read.entries.iter().all(|e| e.line >= 1 && e.line <= lines));
            }
        }

        #[test]
        fn plain_pairs_survive(key in "[a-zA-Z0-9.]{1,20}", value in "[a-zA-Z0-9/.,_-]{0,40}") {
            prop_assert_eq!(one(&format!(" {key} = {value} \n")), (key, value));
        }
    }
}
