use super::*;
use crate::words;

fn go(line: &str) -> Result<Command, Failure> {
    parse(&words::split(line).unwrap())
}

fn text(line: &str) -> String {
    go(line).unwrap_err().text
}

fn path(path: &str) -> String {
    path.to_owned()
}

#[test]
fn every_command_in_its_plainest_form() {
    let lines = [
        "addWatch /a",
        "addauth digest u:p",
        "close",
        "config",
        "connect",
        "create /a",
        "delete /a",
        "deleteall /a",
        "delquota /a",
        "get /a",
        "getAcl /a",
        "getAllChildrenNumber /a",
        "getEphemerals",
        "help",
        "history",
        "listquota /a",
        "ls /a",
        "printwatches",
        "quit",
        "reconfig -remove 3",
        "redo 1",
        "removewatches /a",
        "set /a x",
        "setAcl /a world:anyone:r",
        "setquota -n 1 /a",
        "stat /a",
        "sync /a",
        "version",
        "whoami",
    ];
    let names: Vec<_> = lines.iter().map(|it| it.split(' ').next().unwrap()).collect();
    assert_eq!(names, SPECS.iter().map(|it| it.name).collect::<Vec<_>>(), "all of them, in zkCli's order");
    for line in lines {
        assert!(go(line).is_ok(), "{line}: {:?}", go(line));
    }
    assert_eq!(go("exit"), Ok(Command::Quit));
}

#[test]
fn every_flag_of_the_readers() {
    let get = |stat, watch, form, deprecated| Command::Get { path: path("/a"), stat, watch, form, deprecated };
    assert_eq!(go("get -s -w /a").unwrap(), get(true, true, DataForm::Plain, false));
    assert_eq!(go("get -b /a").unwrap(), get(false, false, DataForm::Base64, false));
    assert_eq!(go("get -b -x /a").unwrap(), get(false, false, DataForm::Hex, false));
    assert_eq!(go("get /a watch").unwrap(), get(false, true, DataForm::Plain, true));
    let ls = |stat, watch, recursive, deprecated| Command::Ls { path: path("/a"), stat, watch, recursive, deprecated };
    assert_eq!(go("ls -swR /a").unwrap(), ls(true, true, true, false));
    assert_eq!(go("ls /a true").unwrap(), ls(false, true, false, true));
    assert_eq!(go("ls -?").unwrap(), Command::LsHelp);
    assert_eq!(go("stat -w /a").unwrap(), Command::Stat { path: path("/a"), watch: true, deprecated: false });
    assert_eq!(go("stat /a x").unwrap(), Command::Stat { path: path("/a"), watch: true, deprecated: true });
    assert_eq!(go("getAcl -s /a").unwrap(), Command::GetAcl { path: path("/a"), stat: true });
    assert_eq!(go("config -c -w -s").unwrap(), Command::Config { client: true, watch: true, stat: true });
    assert_eq!(go("getEphemerals /p").unwrap(), Command::GetEphemerals { path: path("/p") });
    for (flag, kind) in [
        ("-c", WatchType::Children),
        ("-d", WatchType::Data),
        ("-p", WatchType::Persistent),
        ("-r", WatchType::PersistentRecursive),
        ("-a", WatchType::Any),
        ("-l", WatchType::Any),
    ] {
        let expected = Command::RemoveWatches { path: path("/a"), kind };
        assert_eq!(go(&format!("removewatches /a {flag}")).unwrap(), expected);
    }
    assert_eq!(go("addWatch -m persistent /a").unwrap(), Command::AddWatch { path: path("/a"), recursive: false });
}

#[test]
fn every_flag_of_the_writers() {
    let create = |line: &str| match go(line).unwrap() {
        Command::Create { kind, data, acl, .. } => (kind, data, acl),
        other => panic!("{other:?}"),
    };
    let plain = |ephemeral, sequential| CreateKind::Plain { ephemeral, sequential };
    assert_eq!(create("create /a"), (plain(false, false), None, None));
    assert_eq!(create("create -e -s /a x"), (plain(true, true), Some(b"x".to_vec()), None));
    assert_eq!(create("create -c /a"), (CreateKind::Container, None, None));
    assert_eq!(create("create -t 5 -s /a").0, CreateKind::Ttl { ttl_ms: 5, sequential: true });
    assert_eq!(create("create /a '' world:anyone:r").2.as_deref(), Some("world:anyone:r"));
    let set = |data: &[u8], version, stat| Command::Set { path: path("/a"), data: data.to_vec(), version, stat };
    assert_eq!(go("set -s -v 3 /a x").unwrap(), set(b"x", Some(3), true));
    assert_eq!(go("set -b /a AP8=").unwrap(), set(&[0, 255], None, false));
    let delete = |version, deprecated| Command::Delete { path: path("/a"), version, deprecated };
    assert_eq!(go("delete -v -1 /a").unwrap(), delete(Some(-1), false));
    assert_eq!(go("delete /a 7").unwrap(), delete(Some(7), true));
    assert_eq!(go("deleteall /a -b 20").unwrap(), Command::DeleteAll { path: path("/a"), batch: 20 });
    for (flag, limit) in [("n", Limit::Count), ("b", Limit::Bytes), ("N", Limit::CountHard), ("B", Limit::BytesHard)] {
        let expected = Command::SetQuota { path: path("/a"), limit, value: 9 };
        assert_eq!(go(&format!("setquota -{flag} 9 /a")).unwrap(), expected);
        let expected = Command::DelQuota { path: path("/a"), limit: Some(limit) };
        assert_eq!(go(&format!("delquota -{flag} /a")).unwrap(), expected);
    }
    assert_eq!(
        go("setAcl -s -v 2 -R /a world:anyone:r").unwrap(),
        Command::SetAcl {
            path: path("/a"),
            acl: path("world:anyone:r"),
            version: Some(2),
            stat: true,
            recursive: true
        }
    );
    let change = Members::Change { add: Some("server.5=h:1:2;3".to_owned()), remove: Some("3,4".to_owned()) };
    assert_eq!(
        go("reconfig -s -v 1f -remove 3,4 -add server.5=H:1:2;3").unwrap(),
        Command::Reconfig { members: change, version: 0x1f, stat: true }
    );
}

#[test]
fn what_does_not_fit_in_apaches_words() {
    assert_eq!(text("foo"), "Command not found: Command not found foo");
    assert_eq!(text("create"), "create [-s] [-e] [-c] [-t ttl] path [data] [acl]");
    assert_eq!(
        text("get"),
        "get [-s] [-w] [-b] [-x] path\n -b   Output data in base64 format\n -s   Print znode stats additionally\n \
         -w   Watch for changes on the znode\n -x   Output data in hexdump format\n"
    );
    assert_eq!(
        text("set /a"),
        "set path data [-s] [-v version] [-b]\n -b         Supply data in base64 format\n -s         Print znode \
         stats additionally\n -v <arg>   Set with an expected version\n"
    );
    assert_eq!(
        text("create -c -e /k"),
        "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential."
    );
    assert_eq!(text("create -t 0 /k"), "ttl must be positive and cannot be larger than: 1099511627775");
    assert_eq!(text("create -t x /k"), "-t argument must be a long value");
    assert_eq!(text("setquota -n 0 /a"), "the num quota must be greater than zero");
    assert_eq!(text("setquota -b -1 /a"), "the bytes quota must be greater than or equal to zero");
    assert_eq!(text("setquota -n 99999999999 /a"), "NumberFormatException happens when parsing the option value");
    assert_eq!(text("setquota -n 1 /zookeeper/quota/a"), "cannot set a quota under the path: /zookeeper/quota");
    assert_eq!(text("redo -1"), "Command index out of range");
    assert_eq!(text("addWatch -m STANDARD /a"), Spec::find("addWatch").unwrap().usage_text());
    assert_eq!(text("version 1"), "version ");
    assert!(text("reconfig -file a -add b").starts_with("Can't use -file or -members"));
    assert!(text("reconfig -file a -members b").starts_with("Can't use -file and -members"));
}

#[test]
fn numbers_that_apache_dies_of_are_refused() {
    for line in ["delete -v abc /a", "delete /a abc", "set -v x /a b", "setAcl -v x /a world:anyone:r", "redo x"] {
        assert_eq!(go(line).unwrap_err().kind, Kind::Usage, "{line}");
    }
    for word in ["***", "d", "dA=", "dHdv=", "=="] {
        assert!(text(&format!("set -b /a {word}")).starts_with("the data is not base64"), "{word}");
    }
}

#[test]
fn base64_is_taken_as_java_takes_it() {
    let words = [
        ("dHdv", &b"two"[..]),
        ("dA==", b"t"),
        ("dA", b"t"),
        ("dHc=", b"tw"),
        ("dHc", b"tw"),
        ("dHd", b"tw"),
        ("dB==", b"t"),
    ];
    for (word, bytes) in words {
        let Command::Set { data, .. } = go(&format!("set -b /a {word}")).unwrap() else { panic!("{word}") };
        assert_eq!(data, bytes, "{word}");
    }
}

#[test]
fn what_was_probably_meant() {
    let hint = |name: &str| go(name).unwrap_err().hint.unwrap();
    assert!(hint("lss").contains("`ls`"), "{}", hint("lss"));
    assert!(hint("getacl").contains("`getAcl`"));
    assert!(hint("rmr").contains("`deleteall`"));
    assert!(hint("deletall").contains("`deleteall`"));
    assert_eq!(hint("xyzzyxyzzy"), "`help` lists all commands");
}

#[test]
fn digest_without_credentials_is_no_login() {
    assert_eq!(text("addauth digest"), "the scheme digest needs a user and a password");
    let empty = |scheme: &str| Command::AddAuth { scheme: scheme.to_owned(), auth: Vec::new() };
    assert_eq!(go("addauth digest ''"), Ok(empty("digest")), "as in zkCli");
    assert_eq!(go("addauth ip"), Ok(empty("ip")), "it needs none");
}
