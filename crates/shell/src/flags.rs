//! A command's words into flags and arguments, as commons-cli's `DefaultParser` takes them apart, since that is what
//! zkCli's users know: flags stand anywhere behind the command, several in one word (`-sw`), a value behind its flag, in
//! the same word (`-v5`) or after `=`; `--` ends the flags; a number may begin with a minus.

/// A flag that a command knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without the minus.
    pub name: &'static str,
    /// Does a value follow?
    pub value: bool,
    /// What it does, in a few words.
    pub about: &'static str,
}

/// What the flags of a command have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Nothing.
    Free,
    /// At most one of them.
    AtMostOne,
    /// Exactly one of them.
    One,
}

/// The flags and arguments of one command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// What is no flag, without the command's name.
    pub arguments: Vec<String>,
    set: Vec<(&'static str, Option<String>)>,
}

impl Parsed {
    /// Was the flag given?
    pub fn has(&self, name: &str) -> bool {
        self.set.iter().any(|(it, _)| *it == name)
    }

    /// The flag's value, where it was given; its first one, where it was given twice.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.set.iter().find(|(it, _)| *it == name).and_then(|(_, value)| value.as_deref())
    }
}

/// Takes the words behind the command's name apart. The error is commons-cli's text.
pub fn parse(flags: &'static [Flag], group: Group, words: &[String]) -> Result<Parsed, String> {
    let mut it = Parser { flags, group, parsed: Parsed::default(), waiting: None };
    let mut words = words.iter();
    for word in words.by_ref() {
        if word == "--" {
            break;
        }
        it.word(word)?;
    }
    it.parsed.arguments.extend(words.cloned());
    it.nothing_waits()?;
    if group == Group::One && it.parsed.set.is_empty() {
        let all: Vec<_> = flags.iter().map(|it| format!("-{} {}", it.name, it.about)).collect();
        return Err(format!("Missing required option: [{}]", all.join(", ")));
    }
    Ok(it.parsed)
}

struct Parser {
    flags: &'static [Flag],
    group: Group,
    parsed: Parsed,
    /// The flag whose value is still to come: an index into `parsed.set`.
    waiting: Option<usize>,
}

impl Parser {
    fn word(&mut self, word: &str) -> Result<(), String> {
        if self.waiting.is_some() && (!self.looks_like_flag(word) || word.parse::<f64>().is_ok()) {
            self.give_value(word);
            return Ok(());
        }
        match word.strip_prefix('-') {
            None | Some("") => {
                self.parsed.arguments.push(word.to_owned());
                Ok(())
            }
            Some(name) if name.starts_with('-') => Err(unknown(word)),
            Some(name) => self.short(word, name),
        }
    }

    fn short(&mut self, word: &str, name: &str) -> Result<(), String> {
        if let Some(flag) = self.find(name) {
            return self.set(flag);
        }
        if let Some((name, value)) = name.split_once('=') {
            let flag = self.find(name).filter(|it| it.value && name.len() == 1).ok_or_else(|| unknown(word))?;
            self.set(flag)?;
            self.give_value(value);
            return Ok(());
        }
        for (at, letter) in name.char_indices() {
            let flag = self.find(letter.encode_utf8(&mut [0; 4])).ok_or_else(|| unknown(word))?;
            self.set(flag)?;
            let rest = &name[at + letter.len_utf8()..];
            if flag.value && !rest.is_empty() {
                self.give_value(rest);
                break;
            }
        }
        Ok(())
    }

    fn set(&mut self, flag: &'static Flag) -> Result<(), String> {
        self.nothing_waits()?;
        if self.group != Group::Free
            && let Some((other, _)) = self.parsed.set.first()
            && *other != flag.name
        {
            return Err(format!(
                "The option '{}' was specified but an option from this group has already been selected: '{other}'",
                flag.name
            ));
        }
        self.parsed.set.push((flag.name, None));
        if flag.value {
            self.waiting = Some(self.parsed.set.len() - 1);
        }
        Ok(())
    }

    fn give_value(&mut self, value: &str) {
        let inner = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).filter(|it| !it.contains('"'));
        if let Some((_, slot)) = self.waiting.take().and_then(|at| self.parsed.set.get_mut(at)) {
            *slot = Some(inner.unwrap_or(value).to_owned());
        }
    }

    fn nothing_waits(&self) -> Result<(), String> {
        match self.waiting.and_then(|at| self.parsed.set.get(at)) {
            Some((name, _)) => Err(format!("Missing argument for option: {name}")),
            None => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|it| it.name == name)
    }

    fn looks_like_flag(&self, word: &str) -> bool {
        let Some(name) = word.strip_prefix('-').filter(|it| !it.is_empty()) else { return false };
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        let letter = name.chars().next().map(String::from).unwrap_or_default();
        self.find(name).is_some() || self.find(&letter).is_some()
    }
}

fn unknown(word: &str) -> String {
    format!("Unrecognized option: {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag { name: "s", value: false, about: "stat" },
        Flag { name: "v", value: true, about: "version" },
        Flag { name: "file", value: true, about: "file" },
    ];
    const QUOTA: &[Flag] =
        &[Flag { name: "n", value: true, about: "count" }, Flag { name: "b", value: true, about: "bytes" }];

    fn go(flags: &'static [Flag], group: Group, line: &str) -> Result<Parsed, String> {
        parse(flags, group, &line.split(' ').filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>())
    }

    fn free(line: &str) -> Result<Parsed, String> {
        go(FLAGS, Group::Free, line)
    }

    #[test]
    fn flags_stand_anywhere() {
        for line in ["-s -v 3 /a x", "/a -s x -v 3", "/a x -sv3", "-v3 /a x -s", "-v=3 -s /a x", "/a -sv 3 x"] {
            let it = free(line).unwrap();
            assert_eq!(it.arguments, ["/a", "x"], "{line}");
            assert!(it.has("s") && it.value("v") == Some("3"), "{line}");
        }
        assert_eq!(free("-file a /b").unwrap().value("file"), Some("a"));
        assert_eq!(free("-v 1 -v 2").unwrap().value("v"), Some("1"));
        assert_eq!(free("-v \"3\"").unwrap().value("v"), Some("3"));
    }

    #[test]
    fn a_minus_is_not_always_a_flag() {
        assert_eq!(free("-v -1 /a").unwrap().value("v"), Some("-1"));
        assert_eq!(free("/a -").unwrap().arguments, ["/a", "-"]);
        assert_eq!(free("-- -s /a").unwrap().arguments, ["-s", "/a"]);
        assert_eq!(free("-v -x /a").unwrap().value("v"), Some("-x"), "no flag of ours, so it is the value");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(free("-z /a"), Err("Unrecognized option: -z".to_owned()));
        assert_eq!(free("--stat /a"), Err("Unrecognized option: --stat".to_owned()));
        assert_eq!(free("-sz"), Err("Unrecognized option: -sz".to_owned()));
        assert_eq!(free("-s=1"), Err("Unrecognized option: -s=1".to_owned()));
        assert_eq!(free("-file=x"), Err("Unrecognized option: -file=x".to_owned()));
        assert_eq!(free("/a -v"), Err("Missing argument for option: v".to_owned()));
        assert_eq!(free("-v -s 1"), Err("Missing argument for option: v".to_owned()));
    }

    #[test]
    fn a_group_takes_one() {
        assert_eq!(go(QUOTA, Group::One, "/a"), Err("Missing required option: [-n count, -b bytes]".to_owned()));
        assert!(go(QUOTA, Group::AtMostOne, "/a").is_ok());
        let text = "The option 'b' was specified but an option from this group has already been selected: 'n'";
        assert_eq!(go(QUOTA, Group::One, "-n 1 -b 2 /a"), Err(text.to_owned()));
        assert_eq!(go(QUOTA, Group::One, "-n 1 /a").unwrap().value("n"), Some("1"));
    }
}
