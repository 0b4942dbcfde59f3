//! The file format of `zoo.cfg`: Java's properties format, character by character.
//!
//! In: the bytes of a file. Out: its entries in file order, each with the line on which it starts.
//!
//! ```text
//! # a comment, also with !
//! key=value     key : value     key value      three ways to write the same
//! path=/a\      a backslash at the end of a line joins the next one,
//!      /b       whose leading blanks are dropped: path is /a/b
//! e=\u00e4\t\=  escapes, in keys and in values
//! ```
//!
//! Bytes are read as ISO 8859-1, because `Properties.load(InputStream)` does so: a path written in UTF-8 names the same
//! (odd) directory here and there. [`Properties::first_non_ascii_line`] lets the caller say it.

use super::java;

/// Longest file that is read, in bytes. Real files have a few hundred lines at most.
pub(super) const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One `key = value` of the file, trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Line on which the entry starts, from 1.
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: String,
}

/// A file that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Properties {
    /// In file order, duplicates included (Java keeps the last).
    pub(super) entries: Vec<Entry>,
    /// The first line that holds a byte above 127.
    pub(super) first_non_ascii_line: Option<usize>,
}

/// The one thing that this format can get wrong: `\u` without four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MalformedEscape {
    pub(super) line: usize,
}

/// Reads a whole file.
pub(super) fn parse(bytes: &[u8]) -> Result<Properties, MalformedEscape> {
    let mut properties = Properties::default();
    let mut lines = Lines { bytes, position: 0, line: 0 };
    while let Some((line, logical)) = lines.next_logical() {
        if properties.first_non_ascii_line.is_none() && !logical.is_ascii() {
            properties.first_non_ascii_line = Some(line);
        }
        let (key, value) = split(&logical);
        let malformed = MalformedEscape { line };
        let key = unescape(key).ok_or(malformed)?;
        let value = unescape(value).ok_or(malformed)?;
        properties.entries.push(Entry { line, key: java::trim(&key).to_owned(), value: java::trim(&value).to_owned() });
    }
    Ok(properties)
}

/// Cuts bytes into logical lines: comments and blank lines dropped, continuations joined.
struct Lines<'a> {
    bytes: &'a [u8],
    position: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn next_logical(&mut self) -> Option<(usize, Vec<u8>)> {
        loop {
            let natural = self.next_natural()?;
            let start = self.line;
            let content = skip_blanks(natural);
            if content.is_empty() || is_comment(content) {
                continue;
            }
            let mut logical = content.to_vec();
            while ends_with_continuation(&logical) {
                logical.pop();
                let Some(next) = self.next_natural() else { break };
                let next = skip_blanks(next);
                // Nothing but continuations so far: a comment can still begin, and ends the line (from Java 9 on).
                if logical.is_empty() && is_comment(next) {
                    break;
                }
                logical.extend_from_slice(next);
            }
            // A line of nothing but continuations and blanks is a blank line.
            if !logical.is_empty() {
                return Some((start, logical));
            }
        }
    }

    /// The next line without its terminator: `\n`, `\r` or both.
    fn next_natural(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.position..).filter(|rest| !rest.is_empty())?;
        self.line += 1;
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
        let terminator = match (rest.get(end), rest.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => 2,
            (Some(_), _) => 1,
            (None, _) => 0,
        };
        self.position += end + terminator;
        Some(&rest[..end])
    }
}

fn skip_blanks(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|b| !is_blank(*b)).unwrap_or(line.len());
    &line[start..]
}

fn is_comment(content: &[u8]) -> bool {
    content.starts_with(b"#") || content.starts_with(b"!")
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

fn ends_with_continuation(line: &[u8]) -> bool {
    line.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank; one separator may be surrounded by blanks.
fn split(logical: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let end = logical
        .iter()
        .position(|b| {
            let here = !escaped && (is_blank(*b) || matches!(b, b'=' | b':'));
            escaped = *b == b'\\' && !escaped;
            here
        })
        .unwrap_or(logical.len());
    let value = skip_blanks(&logical[end..]);
    let value = match value.first() {
        Some(b'=' | b':') => skip_blanks(&value[1..]),
        _ => value,
    };
    (&logical[..end], value)
}

/// Resolves escapes. `None`: a `\u` without four hexadecimal digits.
fn unescape(text: &[u8]) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        match bytes.next() {
            Some(b't') => units.push(0x09),
            Some(b'n') => units.push(0x0a),
            Some(b'f') => units.push(0x0c),
            Some(b'r') => units.push(0x0d),
            Some(b'u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    unit = unit * 16 + char::from(bytes.next()?).to_digit(16)?;
                }
                units.push(unit as u16);
            }
            Some(other) => units.push(u16::from(other)),
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
        parse(text.as_bytes()).unwrap().entries.into_iter().map(|e| (e.line, e.key, e.value)).collect()
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
        assert_eq!(parse(b"ok=1\nb=\\u12g4"), Err(MalformedEscape { line: 2 }));
        assert_eq!(parse(b"b=\\u12"), Err(MalformedEscape { line: 1 }));
        // A Windows path loses its backslashes, in Java too.
        assert_eq!(one("dataDir=C:\\zookeeper\\data"), ("dataDir".into(), "C:zookeeperdata".into()));
    }

    #[test]
    fn bytes_are_latin_1() {
        let read = parse(b"a=1\nb=\xc3\xa4").unwrap();
        assert_eq!(read.entries[1].value, "\u{c3}\u{a4}");
        assert_eq!(read.first_non_ascii_line, Some(2));
    }

    #[test]
    fn duplicates_stay_in_order() {
        assert_eq!(pairs("a=1\na=2").len(), 2);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn noisy_files_never_panic(text in "[ab=: \\\\\\n\\r\\t#!u01f]{0,200}") {
            if let Ok(read) = parse(text.as_bytes()) {
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
