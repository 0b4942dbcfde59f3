//! The table of keys: everything that ZooKeeper 3.9 reads from a file or a system property, and what it means here.
//!
//! Declarative on purpose. Resolution, validation, the refusals and `docs/configuration.md` are all made from these
//! tables, so a key has one place. Rules for an entry:
//!
//! * the default is Apache's, written as an operator would write it; an empty default means "unset", and the sentence
//!   says what happens then;
//! * [`Support`] is about this server as it is: `Honoured` only for what acts on the value, `Refused` for what asks for
//!   something that is missing. There is nothing between: an operator never gets less than the file asks for.

mod admin;
mod client;
pub(super) mod cluster;
mod requests;
mod security;
mod storage;

/// One key, or one family of keys that share a prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The spelling in the file; for a family, the common prefix.
    pub(super) name: &'static str,
    /// Other spellings that are accepted in the file: documentation headings that Java itself does not read.
    pub(super) also: &'static [&'static str],
    /// Which `-D` names set it.
    pub(super) property: Property,
    /// How its value is read.
    pub(super) kind: Kind,
    /// As written in a file; empty: unset.
    pub(super) default: &'static str,
    /// What this server makes of it.
    pub(super) support: Support,
    /// One sentence for the operator.
    pub(super) doc: &'static str,
}

/// Where else than in the file a key can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    /// `-Dzookeeper.<name>`.
    Prefixed,
    /// `-D<name>`: Java cannot read it from the file; this server can.
    Bare,
    /// Both `-Dzookeeper.<name>` and `-D<name>`.
    Both,
    /// Nowhere: ZooKeeper's own parser reads it from the file.
    FileOnly,
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// `Integer.parseInt` with a range, both ends included.
    Decimal(i64, i64),
    /// `Integer.getInteger`: also `0x10`; with a range.
    Decoded(i64, i64),
    /// `true` or `false` in any case.
    StrictBool,
    /// `true` in any case; everything else is false.
    PropertyBool,
    /// Exactly `yes`; everything else is false.
    OnlyYes,
    /// Exactly `no` is false; everything else is true.
    NotNo,
    /// A finite number with a range.
    Double(f64, f64),
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// A text that is never shown.
    Secret,
}

/// What this server makes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// Acts as in Apache.
    Honoured,
    /// Acts as in Apache, in a member of an ensemble; a standalone server says that it has no effect.
    Ensemble,
    /// Asks for something that is missing: the start is refused, except for these values, which ask for nothing.
    Refused(&'static [&'static str], &'static str),
    /// Asks for something that is missing and that a server can do without: the start says so in a warning, except for
    /// these values. Only for what Apache's own defaults and images ask for, so that nobody wrote it on purpose.
    Absent(&'static [&'static str], &'static str),
    /// Tunes what another key asks for, which is refused: alone it asks for nothing. One information line.
    Idle { with: &'static str },
    /// Known, but without a meaning here; the start says so in one line.
    NoEffect(&'static str),
}

/// A chapter of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chapter {
    pub(super) title: &'static str,
    pub(super) keys: &'static [Key],
    /// Families of keys, matched by prefix after all exact names.
    pub(super) families: &'static [Key],
}

/// The whole table.
pub(super) const CHAPTERS: &[Chapter] =
    &[client::CHAPTER, storage::CHAPTER, requests::CHAPTER, security::CHAPTER, admin::CHAPTER, cluster::CHAPTER];

/// The key with this spelling in a file.
pub(super) fn by_file_name(name: &str) -> Option<&'static Key> {
    exact(|key| key.name == name || key.also.contains(&name)).or_else(|| family(name))
}

/// The key that this `-D` name sets. `Err(key)`: the key exists, but `-D` does not reach it.
pub(super) fn by_property(property: &str) -> Option<Result<&'static Key, &'static Key>> {
    let tail = property.strip_prefix("zookeeper.");
    let reaches = |key: &Key, name: &str, prefixed: bool| match key.property {
        Property::Prefixed => prefixed && (key.name == name || key.also.contains(&name)),
        Property::Bare => !prefixed && key.name == name,
        Property::Both => key.name == name,
        Property::FileOnly => false,
    };
    if let Some(key) = exact(|key| reaches(key, property, false)) {
        return Some(Ok(key));
    }
    let tail = tail?;
    if let Some(key) = exact(|key| reaches(key, tail, true)) {
        return Some(Ok(key));
    }
    if let Some(key) = exact(|key| key.name == tail) {
        return Some(Err(key));
    }
    family(tail).map(|key| if key.property == Property::FileOnly { Err(key) } else { Ok(key) })
}

/// The key with this name, for the code that asks for it.
pub(super) fn by_name(name: &str) -> Option<&'static Key> {
    exact(|key| key.name == name)
}

/// The known key that an unknown one was probably meant to be: at most a third of its letters differ.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let wanted = name.to_ascii_lowercase();
    let keys = CHAPTERS.iter().flat_map(|chapter| chapter.keys);
    let names = keys.flat_map(|key| std::iter::once(key.name).chain(key.also.iter().copied()));
    let distances = names.map(|known| (distance(wanted.as_bytes(), known.to_ascii_lowercase().as_bytes()), known));
    let (distance, known) = distances.min()?;
    (distance * 3 <= wanted.len().min(9)).then_some(known)
}

/// Letters to insert, to leave out and to change.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn exact(matches: impl Fn(&Key) -> bool) -> Option<&'static Key> {
    CHAPTERS.iter().flat_map(|chapter| chapter.keys).find(|key| matches(key))
}

fn family(name: &str) -> Option<&'static Key> {
    let families = CHAPTERS.iter().flat_map(|chapter| chapter.families);
    families.filter(|key| name.starts_with(key.name)).max_by_key(|key| key.name.len())
}

/// An entry as most are: set by the file or `-Dzookeeper.<name>`, honoured.
const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, also: &[], property: Property::Prefixed, kind, default, support: Support::Honoured, doc }
}

impl Key {
    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    const fn bare(self) -> Self {
        Self { property: Property::Bare, ..self }
    }

    const fn both(self) -> Self {
        Self { property: Property::Both, ..self }
    }

    const fn file_only(self) -> Self {
        Self { property: Property::FileOnly, ..self }
    }

    const fn refused(self, asks_nothing: &'static [&'static str], why: &'static str) -> Self {
        Self { support: Support::Refused(asks_nothing, why), ..self }
    }

    const fn absent(self, asks_nothing: &'static [&'static str], why: &'static str) -> Self {
        Self { support: Support::Absent(asks_nothing, why), ..self }
    }

    const fn ensemble(self) -> Self {
        Self { support: Support::Ensemble, ..self }
    }

    const fn idle(self, with: &'static str) -> Self {
        Self { support: Support::Idle { with }, ..self }
    }

    const fn no_effect(self, why: &'static str) -> Self {
        Self { support: Support::NoEffect(why), ..self }
    }
}

/// Among the values that ask for nothing: no number above 0 does.
pub(super) const ZERO_OR_LESS: &str = "0 or less";

const I32_MAX: i64 = i32::MAX as i64;
const I32_MIN: i64 = i32::MIN as i64;
