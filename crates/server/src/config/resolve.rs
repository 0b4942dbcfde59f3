//! From written lines to checked values: who wins, what is refused, what is only said.
//!
//! Order of precedence, weakest first: built-in values of the mode without a file, `-D` flags in command line order,
//! the file (last duplicate). This is Java's order, because ZooKeeper turns a line of the file into a system property
//! *after* the command line set it. Only the winner is checked, as in Java.

use std::collections::BTreeMap;
use std::path::Path;

use super::Note;
use super::error::{ConfigError, Place};
use super::java;
use super::jvm_flags::Environment;
use super::keys::{self, Key, Kind, Support, ZERO_OR_LESS};
use wire::properties::{self, Properties};

/// A value that was read by the rule of its key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Bool(bool),
    Double(f64),
    Text(String),
}

/// What was written last for one key.
#[derive(Debug, Clone)]
pub(super) struct Written {
    key: &'static Key,
    /// As the operator spelled it.
    pub(super) spelling: String,
    pub(super) text: String,
    pub(super) place: Place,
    /// Position in reading order, so that complaints come in it too.
    pub(super) order: usize,
}

/// Collects what is written, then checks it.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    written: BTreeMap<String, Written>,
    notes: Vec<Note>,
    order: usize,
}

/// The values of all keys that somebody set.
#[derive(Debug)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, (Value, Written)>,
    /// Members of families, in the order of writing.
    members: Vec<Written>,
    /// What to say of keys that only members of an ensemble use, where it turns out to be none.
    for_members: Vec<(usize, Note)>,
    pub(super) notes: Vec<Note>,
}

impl Resolver {
    /// A value that is not from a file, under its table name.
    pub(super) fn set(&mut self, name: &'static str, text: &str, place: Place) -> Result<(), ConfigError> {
        let key = keys::by_name(name).ok_or(ConfigError::NoSuchKey(name))?;
        self.write(key, name, java::trim(text), place);
        Ok(())
    }

    pub(super) fn add_environment(&mut self, environment: &Environment) {
        for flag in environment.flags() {
            let place = Place::Environment(flag.variable);
            match keys::by_property(&flag.name) {
                Some(Ok(key)) => self.write(key, &flag.name, java::trim(&flag.value), place),
                Some(Err(key)) => self.notes.push(Note::warning(format!(
                    "{place}: -D{} has no effect: ZooKeeper does not read {} from there",
                    flag.name, key.name
                ))),
                None if flag.name.starts_with("zookeeper.") => {
                    let tail = flag.name.trim_start_matches("zookeeper.");
                    self.notes.push(unknown(&place, &format!("-D{}", flag.name), tail));
                }
                None => {}
            }
        }
    }

    pub(super) fn add_file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
        if bytes.len() > super::FILE_BYTES_MAX {
            return Err(ConfigError::Malformed {
                place: Place::file(path, 0),
                what: format!("longer than {} bytes: not a configuration file", super::FILE_BYTES_MAX),
            });
        }
        let Properties { entries, first_non_ascii_line } =
            properties::parse_file(bytes).map_err(|malformed| ConfigError::Malformed {
                place: Place::file(path, malformed.line),
                what:
                    "\\u without four hexadecimal digits; allowed: \\u0000 to \\uffff, or \\\\u for a backslash and a u"
                        .to_owned(),
            })?;
        if let Some(line) = first_non_ascii_line {
            self.notes.push(Note::warning(format!(
                "{}: read as ISO 8859-1, as Java does; write letters beyond ASCII as \\uXXXX",
                Place::file(path, line)
            )));
        }
        for entry in entries {
            let place = Place::file(path, entry.line);
            match keys::by_file_name(&entry.key) {
                Some(key) => self.write(key, &entry.key, &entry.value, place),
                None => self.notes.push(unknown(&place, &entry.key, &entry.key)),
            }
        }
        Ok(())
    }

    fn write(&mut self, key: &'static Key, spelling: &str, text: &str, place: Place) {
        // A family is a prefix: each of its members is a key of its own.
        let name = if keys::by_name(key.name).is_some() { key.name } else { spelling };
        self.order += 1;
        let written = Written { key, spelling: spelling.to_owned(), text: text.to_owned(), place, order: self.order };
        let place = written.place.clone();
        if let Some(before) = self.written.insert(name.to_owned(), written)
            && before.place != Place::BuiltIn
        {
            self.notes.push(Note::info(format!("{place}: {spelling} replaces the value of {}", before.place)));
        }
    }

    /// Reads every winner by the rule of its key, in the order of writing; the first complaint ends it.
    pub(super) fn check(self) -> Result<Settings, ConfigError> {
        let mut settings =
            Settings { values: BTreeMap::new(), members: Vec::new(), for_members: Vec::new(), notes: self.notes };
        let mut winners: Vec<Written> = self.written.into_values().collect();
        winners.sort_by_key(|written| written.order);
        for written in winners {
            let value = read(written.key.kind, &written.text).map_err(|(what, allowed)| written.bad(what, allowed))?;
            if let Some(note) = odd_boolean(&written) {
                settings.notes.push(note);
            }
            match written.key.support {
                Support::Honoured => {}
                Support::Ensemble => {
                    let note = Note::info(written.line("has no effect: a standalone server has no peers"));
                    settings.for_members.push((settings.notes.len(), note));
                }
                Support::Refused(asks_nothing, why) if !is_one_of(&value, asks_nothing) => {
                    return Err(written.not_supported(why));
                }
                Support::Absent(asks_nothing, why) if !is_one_of(&value, asks_nothing) => {
                    // What the built-in values and Apache's defaults ask for was not written by anybody.
                    settings.notes.push(Note::warning(written.line(&format!("= {}: {why}", written.shown()))));
                }
                Support::Refused(..) | Support::Absent(..) => {}
                Support::Idle { with } => {
                    settings
                        .notes
                        .push(Note::info(written.line(&format!("has no effect: it counts only with {with}"))));
                }
                Support::NoEffect(why) => {
                    settings.notes.push(Note::info(written.line(&format!("has no effect: {why}"))));
                }
            }
            if keys::by_name(written.key.name).is_some() {
                settings.values.insert(written.key.name, (value, written));
            } else {
                settings.members.push(written);
            }
        }
        Ok(settings)
    }
}

impl Written {
    fn shown(&self) -> &str {
        let spelling = self.spelling.to_ascii_lowercase();
        // `…password` is one, `…passwordPath` names a file.
        let is_secret = self.key.kind == Kind::Secret || spelling.ends_with("password");
        if is_secret { "(hidden)" } else { &self.text }
    }

    /// As the line of a configuration of members.
    pub(super) fn entry(&self) -> properties::Entry {
        let line = if let Place::File { line, .. } = self.place { line } else { 0 };
        properties::Entry { line, key: self.spelling.clone(), value: self.text.clone() }
    }

    fn line(&self, what: &str) -> String {
        format!("{}: {} {what}", self.place, self.spelling)
    }

    pub(super) fn not_supported(&self, why: &str) -> ConfigError {
        ConfigError::NotSupported {
            place: self.place.clone(),
            key: self.spelling.as_str().into(),
            value: self.shown().into(),
            why: why.into(),
        }
    }

    pub(super) fn bad(&self, what: String, allowed: String) -> ConfigError {
        ConfigError::BadValue {
            place: self.place.clone(),
            key: self.spelling.as_str().into(),
            value: self.shown().into(),
            what: what.into(),
            allowed: allowed.into(),
        }
    }
}

impl Settings {
    /// The number of a key, or of its default; `None` when both are unset.
    pub(super) fn int(&self, name: &'static str) -> Result<Option<i64>, ConfigError> {
        Ok(self.value(name)?.and_then(|value| if let Value::Int(number) = value { Some(number) } else { None }))
    }

    /// A number whose default is set, as the type that holds it.
    pub(super) fn number<T: TryFrom<i64>>(&self, name: &'static str) -> Result<T, ConfigError> {
        let number = self.int(name)?.and_then(|number| T::try_from(number).ok());
        number.ok_or(ConfigError::NoSuchKey(name))
    }

    /// A number that means "none" when it is 0 or less.
    pub(super) fn limit<T: TryFrom<i64>>(&self, name: &'static str) -> Result<Option<T>, ConfigError> {
        match self.int(name)? {
            Some(number) if number > 0 => T::try_from(number).map(Some).map_err(|_| ConfigError::NoSuchKey(name)),
            _ => Ok(None),
        }
    }

    pub(super) fn bool(&self, name: &'static str) -> Result<bool, ConfigError> {
        match self.value(name)? {
            Some(Value::Bool(value)) => Ok(value),
            _ => Err(ConfigError::NoSuchKey(name)),
        }
    }

    pub(super) fn double(&self, name: &'static str) -> Result<f64, ConfigError> {
        match self.value(name)? {
            Some(Value::Double(value)) => Ok(value),
            _ => Err(ConfigError::NoSuchKey(name)),
        }
    }

    /// A text; an empty one counts as unset.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        Ok(match self.value(name)? {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        })
    }

    /// It is a standalone server: what only members use has no effect. Said where it would have been said.
    pub(super) fn say_what_only_members_use(&mut self) {
        for (at, note) in std::mem::take(&mut self.for_members).into_iter().rev() {
            self.notes.insert(at.min(self.notes.len()), note);
        }
    }

    /// The members of a family that somebody wrote, in the order of writing.
    pub(super) fn members(&self, family: &'static str) -> impl Iterator<Item = &Written> {
        self.members.iter().filter(move |written| written.key.name == family)
    }

    /// What was written for a key, if anything was.
    pub(super) fn written(&self, name: &'static str) -> Option<&Written> {
        self.values.get(name).map(|(_, written)| written)
    }

    /// Where a key was set, if somebody did.
    pub(super) fn place(&self, name: &'static str) -> Option<&Place> {
        self.values.get(name).map(|(_, written)| &written.place)
    }

    /// A complaint about a value that is wrong only beside another one.
    pub(super) fn bad(&self, name: &'static str, what: String, allowed: &str) -> ConfigError {
        match self.values.get(name) {
            Some((_, written)) => written.bad(what, allowed.to_owned()),
            None => ConfigError::NoSuchKey(name),
        }
    }

    fn value(&self, name: &'static str) -> Result<Option<Value>, ConfigError> {
        if let Some((value, _)) = self.values.get(name) {
            return Ok(Some(value.clone()));
        }
        let key = keys::by_name(name).ok_or(ConfigError::NoSuchKey(name))?;
        if key.default.is_empty() {
            return Ok(None);
        }
        read(key.kind, key.default).map(Some).map_err(|_| ConfigError::NoSuchKey(name))
    }
}

/// The warning about a key that is not in the table.
fn unknown(place: &Place, spelling: &str, name: &str) -> Note {
    let guess = keys::nearest(name).map(|known| format!("; is {known} meant?")).unwrap_or_default();
    Note::warning(format!("{place}: {spelling}: unknown key, ignored{guess}"))
}

/// Reads a text by the rule of its key. `Err`: what is wrong, and what would be right.
pub(super) fn read(kind: Kind, text: &str) -> Result<Value, (String, String)> {
    let integer = |number: Option<i64>, min: i64, max: i64, also: &str| {
        let allowed = if min == max { min.to_string() } else { format!("{min} to {max}{also}") };
        match number {
            None => Err(("not a number".to_owned(), allowed)),
            Some(number) if number < min => Err(("too small".to_owned(), allowed)),
            Some(number) if number > max => Err(("too large".to_owned(), allowed)),
            Some(number) => Ok(Value::Int(number)),
        }
    };
    match kind {
        Kind::Decimal(min, max) => integer(java::parse_decimal(text), min, max, ""),
        Kind::Decoded(min, max) => integer(java::decode(text), min, max, ", also as 0x…"),
        Kind::StrictBool => java::strict_bool(text)
            .map(Value::Bool)
            .ok_or_else(|| ("not a boolean".to_owned(), "true, false".to_owned())),
        Kind::PropertyBool => Ok(Value::Bool(java::property_bool(text))),
        Kind::OnlyYes => Ok(Value::Bool(text == "yes")),
        Kind::NotNo => Ok(Value::Bool(text != "no")),
        Kind::Double(min, max) => match java::parse_double(text) {
            Some(number) if number >= min && number <= max => Ok(Value::Double(number)),
            Some(_) => Err(("out of range".to_owned(), format!("{min} to {max}"))),
            None => Err(("not a number".to_owned(), format!("{min} to {max}"))),
        },
        Kind::Choice(words) => words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text))
            .map(|word| Value::Text((*word).to_owned()))
            .ok_or_else(|| ("not known".to_owned(), list(words))),
        Kind::Text | Kind::Secret => Ok(Value::Text(text.to_owned())),
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| if word.is_empty() { "(empty)" } else { word }).collect::<Vec<_>>().join(", ")
}

/// A boolean that Java reads in a way that its writer may not expect.
fn odd_boolean(written: &Written) -> Option<Note> {
    let (fine, read_as): (&[&str], &str) = match written.key.kind {
        Kind::PropertyBool => (&["true", "false"], "false"),
        Kind::OnlyYes => (&["yes", "no"], "no"),
        Kind::NotNo => (&["yes", "no"], "yes"),
        _ => return None,
    };
    let exact = written.key.kind != Kind::PropertyBool;
    let known =
        fine.iter().any(|word| if exact { *word == written.text } else { word.eq_ignore_ascii_case(&written.text) });
    (!known).then(|| {
        Note::warning(format!(
            "{}: {} = {:?} is read as {read_as}, as in Java; write {} or {}",
            written.place, written.spelling, written.text, fine[0], fine[1]
        ))
    })
}

pub(super) fn is_one_of(value: &Value, words: &[&str]) -> bool {
    if matches!(value, Value::Int(..=0)) && words.contains(&ZERO_OR_LESS) {
        return true;
    }
    let text = match value {
        Value::Int(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    };
    words.iter().any(|word| word.eq_ignore_ascii_case(&text))
}
