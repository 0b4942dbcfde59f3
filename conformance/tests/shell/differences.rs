//! Where the shell answers otherwise than zkCli on purpose. Each is looked at on both, so that the list stays true; the
//! reasons stand in `docs/shell.md`.

use crate::both::{PROGRAMS, servers};

/// A line; what zkCli says, and what the shell says: a piece of standard output or standard error, and the exit code of
/// a single command.
const DIFFERENCES: &[(&[&str], &str, i32, &str, i32)] = &[
    (&["delete", "-v", "abc", "/a"], "NumberFormatException", 1, "-v must be a number", 1),
    (&["set", "-b", "/a", "***"], "IllegalArgumentException", 1, "the data is not base64", 1),
    (&["addWatch", "a"], "IllegalArgumentException", 1, "Path must start with / character", 1),
    (&["setquota", "-n", "0", "/a"], "must be greater than zero", 0, "must be greater than zero", 1),
    (&["deleteall", "/"], "Failed to delete some node(s)", 0, "Failed to delete some node(s)", 1),
    (&["sync", "/a", "-x"], "Unrecognized option: -x", 1, "Unrecognized option: -x", 1),
    (&["setAcl", "/a", "world:anyone:rx"], "Unknown perm type: x", 0, "Unknown perm type: x", 1),
    (&["create", "/new", "x", "oops,world:anyone:r"], "Created /new", 0, "oops does not have the form", 1),
    (&["help"], "Command not found", 127, "setquota -n|-b|-N|-B val path", 0),
    (&["delete", "/a", "7"], "has been deprecated", 0, "version No is not valid : /a", 1),
];

#[test]
fn the_list_is_true() {
    let (_dir, server) = servers().remove(0);
    for (words, theirs, their_code, ours, our_code) in DIFFERENCES {
        for (program, expected, code) in [(PROGRAMS[0], theirs, their_code), (PROGRAMS[1], ours, our_code)] {
            let made = crate::both::shell(server.addr()).args(["create", "/a", "x"]).output().unwrap();
            assert!(made.status.code().is_some());
            let _ = crate::both::shell(server.addr()).args(["delete", "/new"]).output().unwrap();
            let said = program.one_shot(server.addr(), words);
            let text = [said.out.join("\n"), said.err.join("\n")].join("\n");
            assert!(text.contains(expected), "{program:?} {words:?}: {text}");
            assert_eq!(said.code, Some(*code), "{program:?} {words:?}: {text}");
        }
    }
}
