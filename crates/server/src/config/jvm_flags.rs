//! `-D` flags out of the environment.
//!
//! `zkServer.sh` puts `$SERVER_JVMFLAGS $JVMFLAGS` on the command line of the JVM, in this order, unquoted. So the shell
//! splits at blanks and quotes stay literal; and as the JVM lets the last flag win, `JVMFLAGS` wins over
//! `SERVER_JVMFLAGS`. `ZOO_DATADIR_AUTOCREATE_DISABLE` becomes the first flag of all. Everything that is not `-D` belongs
//! to the JVM and is skipped.

/// The environment variables that can carry configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `SERVER_JVMFLAGS`, as the shell would pass it on.
    pub server_jvmflags: String,
    /// `JVMFLAGS`, which stands behind the former and wins over it.
    pub jvmflags: String,
    /// `ZOO_DATADIR_AUTOCREATE_DISABLE` is set and not empty.
    pub datadir_autocreate_disable: bool,
}

/// One `-Dname=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flag {
    /// The variable that it came from.
    pub(super) variable: &'static str,
    pub(super) name: String,
    pub(super) value: String,
}

impl Environment {
    /// The environment of this process. A variable that is not UTF-8 is read with replacement characters.
    pub fn from_process() -> Self {
        let read = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        Self {
            server_jvmflags: read("SERVER_JVMFLAGS"),
            jvmflags: read("JVMFLAGS"),
            datadir_autocreate_disable: !read("ZOO_DATADIR_AUTOCREATE_DISABLE").is_empty(),
        }
    }

    /// All flags; of two with the same name the later one counts.
    pub(super) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        if self.datadir_autocreate_disable {
            flags.push(Flag {
                variable: "ZOO_DATADIR_AUTOCREATE_DISABLE",
                name: "zookeeper.datadir.autocreate".to_owned(),
                value: "false".to_owned(),
            });
        }
        for (variable, text) in [("SERVER_JVMFLAGS", &self.server_jvmflags), ("JVMFLAGS", &self.jvmflags)] {
            for word in text.split_ascii_whitespace() {
                let Some(definition) = word.strip_prefix("-D").filter(|definition| !definition.is_empty()) else {
                    continue;
                };
                let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
                flags.push(Flag { variable, name: name.to_owned(), value: value.to_owned() });
            }
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(server: &str, common: &str) -> Vec<(&'static str, String, String)> {
        let environment =
            Environment { server_jvmflags: server.into(), jvmflags: common.into(), datadir_autocreate_disable: false };
        environment.flags().into_iter().map(|f| (f.variable, f.name, f.value)).collect()
    }

    #[test]
    fn only_definitions_in_command_line_order() {
        assert_eq!(
            flags("-Xmx1000m  -Dzookeeper.snapCount=10 -Da", "-XX:+UseG1GC -Dzookeeper.snapCount=20 -Db=c=d -D x"),
            vec![
                ("SERVER_JVMFLAGS", "zookeeper.snapCount".into(), "10".into()),
                ("SERVER_JVMFLAGS", "a".into(), String::new()),
                ("JVMFLAGS", "zookeeper.snapCount".into(), "20".into()),
                ("JVMFLAGS", "b".into(), "c=d".into()),
            ]
        );
    }

    #[test]
    fn quotes_are_literal() {
        assert_eq!(flags("-Da=\"b", "")[0].2, "\"b");
    }

    #[test]
    fn autocreate_switch_comes_first() {
        let environment = Environment { datadir_autocreate_disable: true, ..Environment::default() };
        assert_eq!(environment.flags()[0].name, "zookeeper.datadir.autocreate");
    }
}
