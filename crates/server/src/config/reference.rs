//! `docs/configuration.md` out of the table of keys.
//!
//! `UPDATE_DOCS=1 cargo test -p ostler-server configuration_md` writes the file; without the variable the test says
//! whether it is up to date.

use std::fmt::Write as _;

use super::keys::{CHAPTERS, Key, Kind, Property, Support};

/// The page for operators, in Markdown: how a value is found, and every key.
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for chapter in CHAPTERS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n## {}\n", chapter.title);
        text.push_str("| key | value | default | here | meaning |\n|---|---|---|---|---|\n");
        for key in chapter.keys {
            row(&mut text, key, "");
        }
        for family in chapter.families {
            row(&mut text, family, "…");
        }
    }
    text
}

fn row(text: &mut String, key: &Key, more: &str) {
    let mut names = format!("`{}{more}`", key.name);
    for also in key.also {
        let _ = write!(names, ", `{also}`");
    }
    if key.property != Property::FileOnly {
        names.push_str(" (-D)");
    }
    let default = if key.default.is_empty() { "—".to_owned() } else { format!("`{}`", key.default) };
    let (here, why) = support(key.support);
    let _ = writeln!(text, "| {names} | {} | {default} | {here} | {}{why} |", value(key.kind), key.doc);
}

fn value(kind: Kind) -> String {
    let range = |min: i64, max: i64| {
        let bound = |number: i64| if number.abs() >= i32::MAX as i64 { String::new() } else { number.to_string() };
        match (bound(min), bound(max)) {
            (min, max) if min.is_empty() && max.is_empty() => "number".to_owned(),
            (min, max) if max.is_empty() => format!("number from {min}"),
            (min, max) if min.is_empty() => format!("number up to {max}"),
            (min, max) => format!("{min} to {max}"),
        }
    };
    match kind {
        Kind::Decimal(min, max) => range(min, max),
        Kind::Decoded(min, max) => format!("{}, 0x too", range(min, max)),
        Kind::StrictBool => "true/false".to_owned(),
        Kind::PropertyBool => "true, else false".to_owned(),
        Kind::OnlyYes | Kind::NotNo => "yes/no".to_owned(),
        Kind::Double(min, max) => format!("{min} to {max}"),
        Kind::Choice(words) => {
            words.iter().filter(|word| !word.is_empty()).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
        }
        Kind::Text | Kind::Secret => "text".to_owned(),
    }
}

fn support(support: Support) -> (String, String) {
    let except = |words: &[&str]| {
        let words: Vec<String> = words.iter().filter(|word| !word.is_empty()).map(|word| format!("`{word}`")).collect();
        if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
    };
    match support {
        Support::Honoured => ("yes".to_owned(), String::new()),
        Support::Ensemble => ("in an ensemble".to_owned(), String::new()),
        Support::Refused(asks_nothing, why) => (format!("refused{}", except(asks_nothing)), format!(" ({why})")),
        Support::Absent(_, why) => ("absent".to_owned(), format!(" ({why})")),
        Support::Idle { with } => ("idle".to_owned(), format!(" (Counts only with `{with}`.)")),
        Support::NoEffect(why) => ("no effect".to_owned(), format!(" ({why})")),
    }
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the table of keys in crates/server/src/config/keys; do not edit. See reference.rs there. -->

The server reads the `zoo.cfg` of an Apache ZooKeeper 3.9 as it is. Without any file it listens on 127.0.0.1:2181 and
keeps its data in `ostler-data` in the current folder.

## How a value is found

* The file is in Java's properties format: `key=value`, `key: value` or `key value`; `#` and `!` begin a comment at the
  start of a line; a backslash continues a line or escapes (`\\u00e4`); of two lines with the same key the last one counts.
  Bytes are read as ISO 8859-1.
* A key marked `-D` can also come from `SERVER_JVMFLAGS` or `JVMFLAGS`, as `zkServer.sh` passes them on:
  `-Dzookeeper.snapCount=50000`. The file wins over both, `JVMFLAGS` wins over `SERVER_JVMFLAGS`, and everything there
  that is not `-D` is skipped. `ZOO_DATADIR_AUTOCREATE_DISABLE` works too.
* `jute.maxbuffer`, `readonlymode.enabled` and `znode.container.…` are flags only in Java; here the file may hold them.
* Booleans are of three kinds. *true/false* must be one of both, in any case. *true, else false* takes everything but
  `true` as false, as Java does, with a warning. *yes/no* wants exactly that word.
* *0x too* means that hexadecimal (`0xfffff`) and octal (`017`) numbers are understood.

## What a line can lead to

| in the table | at the start of the server |
|---|---|
| yes | it acts as in Apache ZooKeeper |
| in an ensemble | a member of an ensemble acts on it as in Apache ZooKeeper; a standalone server: one information line |
| refused | the server does not start, and says which line asks for what it does not have; values in brackets pass |
| absent | one warning line: the server has no such thing, and starts without it |
| idle | one information line: it tunes what another key asks for, which is refused |
| no effect | one information line |
| (not in a table) | one warning line, with the key that was probably meant |

A bad value ends the start with exit code 2 and one line: `zoo.cfg:3: tickTime = 2s: not a number; allowed: 1 to 2147483647`.
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

    #[test]
    fn configuration_md_is_up_to_date() {
        let wanted = reference();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(FILE, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            found == wanted,
            "docs/configuration.md is out of date: UPDATE_DOCS=1 cargo test -p ostler-server configuration_md"
        );
    }
}
