//! Which word it is, and whether it may be answered.

use std::collections::BTreeSet;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A four-letter word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Word {
            $($(#[$doc])* $name,)*
        }

        impl Word {
            /// All of them, in the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its four letters.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

words! {
    /// Configuration.
    Conf = "conf",
    /// Connections in detail.
    Cons = "cons",
    /// Reset the counters of connections.
    Crst = "crst",
    /// Sizes of the directories.
    Dirs = "dirs",
    /// Sessions and ephemerals.
    Dump = "dump",
    /// What was said in elections last. No word of Apache's.
    Elec = "elec",
    /// Environment.
    Envi = "envi",
    /// The trace mask.
    Gtmk = "gtmk",
    /// Recorded digests of the tree.
    Hash = "hash",
    /// Read-only or not.
    Isro = "isro",
    /// All metrics.
    Mntr = "mntr",
    /// Is the process there?
    Ruok = "ruok",
    /// Reset the counters of the server.
    Srst = "srst",
    /// The server in brief.
    Srvr = "srvr",
    /// The server and its connections.
    Stat = "stat",
    /// Set the trace mask; eight more bytes follow.
    Stmk = "stmk",
    /// What telnet sends when it closes; its bytes are no letters.
    TelnetClose = "telnet close",
    /// Watches by session.
    Wchc = "wchc",
    /// Watches by path.
    Wchp = "wchp",
    /// Watches in brief.
    Wchs = "wchs",
}

impl Word {
    /// The word in the first four bytes of a connection. `None`: these bytes are a length (or nonsense).
    ///
    /// To be asked only before the connect request: later on, the same bytes are a length. No word is mistaken for a
    /// length that anybody may send, since the smallest is above 1.6 GB, and that of telnet is negative.
    pub fn from_bytes(first: [u8; 4]) -> Option<Self> {
        if first == TELNET_CLOSE {
            return Some(Self::TelnetClose);
        }
        Self::ALL.iter().copied().find(|word| word.name().as_bytes() == first)
    }

    /// Bytes that follow the word: `stmk` brings its mask as a big-endian number.
    pub fn argument_bytes(self) -> usize {
        if self == Self::Stmk { 8 } else { 0 }
    }

    /// Whether it is answered while the server does not serve.
    pub fn works_without_service(self) -> bool {
        matches!(self, Self::Ruok | Self::Isro | Self::Elec | Self::Envi | Self::Gtmk | Self::Stmk)
    }

    /// The answer to a word that is not in the whitelist.
    pub fn refusal(self) -> String {
        format!("{} is not executed because it is not in the whitelist.\n", self.name())
    }
}

/// Interrupt process, and do timing mark, as the telnet protocol writes them.
const TELNET_CLOSE: [u8; 4] = [0xff, 0xf4, 0xff, 0xfd];

/// The words that an operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whitelist {
    words: BTreeSet<Word>,
    unknown: Vec<String>,
}

impl Whitelist {
    /// Reads `4lw.commands.whitelist`: words divided by commas, blanks allowed, `*` for all. `srvr` is always in it,
    /// because `zkServer.sh status` asks it; `isro` is when the read-only mode is on, because clients ask it.
    pub fn parse(text: &str, read_only_mode: bool) -> Self {
        let mut whitelist = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part == "*" {
                whitelist.words.extend(Word::ALL);
                break;
            }
            match Word::ALL.iter().find(|word| word.name() == part) {
                Some(word) => drop(whitelist.words.insert(*word)),
                None => whitelist.unknown.push(part.to_owned()),
            }
        }
        whitelist.words.insert(Word::Srvr);
        if read_only_mode {
            whitelist.words.insert(Word::Isro);
        }
        whitelist
    }

    /// Whether the word may be answered.
    pub fn allows(&self, word: Word) -> bool {
        self.words.contains(&word)
    }

    /// Entries that are no words, in order: Apache ignores them, an operator should hear of them.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognised_from_four_bytes() {
        assert_eq!(Word::from_bytes(*b"ruok"), Some(Word::Ruok));
        assert_eq!(Word::from_bytes(0x7275_6f6b_u32.to_be_bytes()), Some(Word::Ruok));
        assert_eq!(Word::from_bytes([0, 0, 0, 45]), None);
        assert_eq!(Word::from_bytes(*b"RUOK"), None);
        assert_eq!(Word::from_bytes([0xff, 0xf4, 0xff, 0xfd]), Some(Word::TelnetClose));
        assert_eq!(Word::ALL.len(), 20);
        for word in Word::ALL.iter().filter(|word| **word != Word::TelnetClose) {
            let bytes = word.name().as_bytes();
            assert_eq!(bytes.len(), 4);
            assert_eq!(Word::from_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), Some(*word));
        }
        assert!(Word::ALL.windows(2).all(|pair| pair[0].name() < pair[1].name()));
    }

    #[test]
    fn whitelists() {
        let list = Whitelist::parse(" mntr, ruok ,,nope,", false);
        assert!(list.allows(Word::Mntr) && list.allows(Word::Ruok) && list.allows(Word::Srvr));
        assert!(!list.allows(Word::Stat) && !list.allows(Word::Isro));
        assert_eq!(list.unknown(), ["nope"]);
        assert!(Whitelist::parse("", true).allows(Word::Isro));
        assert!(Word::ALL.iter().all(|word| Whitelist::parse("ruok, *", false).allows(*word)));
    }

    #[test]
    fn the_refusal() {
        assert_eq!(Word::Dump.refusal(), "dump is not executed because it is not in the whitelist.\n");
        let telnet = Word::TelnetClose.refusal();
        assert_eq!(telnet, "telnet close is not executed because it is not in the whitelist.\n");
        assert!(Whitelist::parse("*", false).allows(Word::TelnetClose));
    }
}
