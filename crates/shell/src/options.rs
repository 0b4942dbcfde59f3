//! The command line of `ostler shell`, in its own spelling and in zkCli's.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::hosts::Hosts;
use crate::screen::Color;

/// A shell for ZooKeeper's servers, with zkCli's commands.
///
/// Without a command: a prompt, with history and completion. With one: it is done, and the exit code tells how it went.
/// From a file or a pipe: one line after the other.
#[derive(Debug, Clone, clap::Args)]
// Of an option that is given twice the last counts, as in zkCli: scripts add theirs to what a wrapper has.
#[command(after_help = EXAMPLES, verbatim_doc_comment, args_override_self = true)]
// Of an error clap's own usage shows what was given, an option with its default too, as if it were needed.
#[command(override_usage = "ostler shell [OPTIONS] [COMMAND]...")]
pub struct Args {
    /// The servers, and a path that all paths are below. zkCli's spelling: -server
    #[arg(short, long, value_name = "HOST:PORT[,HOST:PORT…][/CHROOT]", default_value = "localhost:2181")]
    pub server: String,
    /// The session timeout to ask for, in ms. zkCli's spelling: -timeout
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = milliseconds, allow_negative_numbers = true)]
    pub timeout: u32,
    /// Make do with a server that is cut off from its ensemble and only reads
    #[arg(short, long)]
    pub read_only: bool,
    /// Try until the timeout before the first command, instead of giving up when all servers refuse. zkCli's spelling:
    /// -waitforconnection
    #[arg(long)]
    pub wait_for_connection: bool,
    /// A Java properties file as Apache's client takes it; what it asks for and the shell can't do is refused. zkCli's
    /// spelling: -client-configuration
    #[arg(long, value_name = "FILE")]
    pub client_configuration: Option<PathBuf>,
    /// Commands from a file, one a line; - is standard input. Empty lines and lines that begin with # are passed over
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    pub file: Option<PathBuf>,
    /// In a file or a pipe: end at the first command that fails. Without it all are done, as zkCli does, and the last
    /// one's success is the exit code
    #[arg(long)]
    pub stop_on_error: bool,
    /// Each answer as one JSON object on one line; an error is an object too
    #[arg(long)]
    pub json: bool,
    /// Colours: on terminals (unless NO_COLOR is set), always or never
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// A command and its words; options of the shell stand before it
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  ostler shell                                     a prompt at localhost:2181
  ostler shell -s zk1:2181,zk2:2181/app ls /       one command, below the chroot /app
  ostler shell get -s /a                           data and Stat
  ostler shell --json get /a | jq -r .data         for programs
  ostler shell --stop-on-error -f changes.zk       commands of a file
  echo 'create /a hello' | ostler shell            … or of a pipe

`ostler shell help` lists the commands. Exit codes: 0, 1 when the (last) command failed, 2 for a wrong option, 127 for an
unknown command, 130 after Ctrl-C, 141 when nobody reads standard output any more. History: ostler/shell_history in
$XDG_STATE_HOME or ~/.local/state; addauth is left out of it.";

fn milliseconds(text: &str) -> Result<u32, String> {
    let ms = text.parse().ok().filter(|ms| (1..=i32::MAX.unsigned_abs()).contains(ms));
    ms.ok_or_else(|| format!("a timeout is a number of ms, from 1 to {}", i32::MAX))
}

/// zkCli's spellings of options and this shell's.
const ZKCLI: [(&str, &str); 4] = [
    ("-server", "--server"),
    ("-timeout", "--timeout"),
    ("-waitforconnection", "--wait-for-connection"),
    ("-client-configuration", "--client-configuration"),
];
/// Options that a value follows.
const WITH_VALUE: [&str; 7] = ["-s", "--server", "--timeout", "--client-configuration", "-f", "--file", "--color"];

/// A process's arguments with zkCli's spellings of the options of `… shell` turned into ours, up to the command. Other
/// arguments stay as they are.
pub fn zkcli_spelling(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter();
    out.extend(arguments.by_ref().take(2));
    if out.get(1).is_none_or(|it| it != "shell") {
        out.extend(arguments);
        return out;
    }
    while let Some(argument) = arguments.next() {
        let ours = ZKCLI.iter().find(|(theirs, _)| argument == *theirs).map(|(_, ours)| OsString::from(ours));
        let argument = ours.unwrap_or(argument);
        let is_option = argument.to_str().is_some_and(|it| it.starts_with('-') && it.len() > 1);
        let takes_value = argument.to_str().is_some_and(|it| WITH_VALUE.contains(&it));
        out.push(argument);
        if takes_value {
            out.extend(arguments.next());
        } else if !is_option {
            break;
        }
    }
    out.extend(arguments);
    out
}

impl Args {
    /// How to connect.
    pub(crate) fn session(&self, interactive: bool) -> Result<crate::session::Options, String> {
        Ok(crate::session::Options {
            hosts: Hosts::parse(&self.server)?,
            timeout: Duration::from_millis(u64::from(self.timeout)),
            read_only: self.read_only,
            wait: self.wait_for_connection,
            interactive,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        sub: Sub,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Sub {
        Shell(Args),
    }

    fn parse(line: &str) -> Result<Args, String> {
        let words = zkcli_spelling(line.split(' ').map(OsString::from));
        let Sub::Shell(args) = Cli::try_parse_from(words).map_err(|e| e.to_string())?.sub;
        Ok(args)
    }

    #[test]
    fn both_spellings() {
        for line in [
            "ostler shell -server h:1 -timeout 5 -r -waitforconnection -client-configuration f get -s /a",
            "ostler shell -s h:1 --timeout 5 --read-only --wait-for-connection --client-configuration f get -s /a",
            "ostler shell --server=h:1 --timeout=5 -r --wait-for-connection --client-configuration=f get -s /a",
        ] {
            let args = parse(line).unwrap();
            assert_eq!((args.server.as_str(), args.timeout), ("h:1", 5), "{line}");
            assert!(args.read_only && args.wait_for_connection, "{line}");
            assert_eq!(args.client_configuration, Some(PathBuf::from("f")));
            assert_eq!(args.command, ["get", "-s", "/a"], "the command's words are its own");
        }
    }

    #[test]
    fn of_two_the_last_counts() {
        let args = parse("ostler shell -server a:1 -r -timeout 5 -s b:2 -r --timeout 6 get -s /a -s").unwrap();
        assert_eq!((args.server.as_str(), args.timeout, args.read_only), ("b:2", 6, true));
        assert_eq!(args.command, ["get", "-s", "/a", "-s"]);
    }

    #[test]
    fn the_commands_words_are_left_alone() {
        assert_eq!(parse("ostler shell create /a -server").unwrap().command, ["create", "/a", "-server"]);
        assert_eq!(parse("ostler shell get --json /a").unwrap().command, ["get", "--json", "/a"]);
        assert!(parse("ostler shell --jsn get /a").is_err());
        assert!(parse("ostler shell -f x get /a").is_err());
    }

    #[test]
    fn a_timeout_that_is_none_is_told_so() {
        for timeout in ["0", "-5", "5s", "2147483648", "99999999999999999999"] {
            for option in ["--timeout ", "-timeout ", "--timeout="] {
                let error = parse(&format!("ostler shell {option}{timeout} ls /")).unwrap_err();
                assert!(error.contains("a timeout is a number of ms, from 1 to 2147483647"), "{error}");
                assert!(!error.contains("tip:") && !error.contains("-- -"), "{error}");
            }
        }
        let error = parse("ostler shell --timeout").unwrap_err();
        assert!(!error.contains("--server"), "{error}");
        let error = parse("ostler shell -s h:1 --jsn").unwrap_err();
        assert!(
            error.contains("Usage: ostler shell [OPTIONS] [COMMAND]...") && !error.contains("--server <"),
            "{error}"
        );
    }
}
