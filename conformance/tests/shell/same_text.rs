//! zkCli's text compared with the shell's: every command and flag, and their errors.

use std::fmt::Write;

use crate::both::{PROGRAMS, Said, assert_same, servers, servers_with};

/// Lines for both, in this order. What they print must be equal, on standard output and on standard error.
const LINES: &[&str] = &[
    // create
    "create /a hello",
    "create /a again",
    "create /null",
    "create /empty \"\"",
    "create /empty2 ''",
    "create /a/b 'hello world'",
    "create /a/c/d x",
    "create -s /a/seq- x",
    "create -s /a/seq- x",
    "create -s /a/seq-",
    "create -s /a/ x",
    "create -e /a/eph x",
    "create -e /a/eph/child x",
    "create -e -s /a/es x",
    "create -es /a/es x",
    "create -c /container",
    "create -c /container2 data",
    "create -c -s /k",
    "create -c -e /k",
    "create -t 5000 /ttl x",
    "create -t 600000 /ttl x",
    "create -t 600000 -s /ttl x",
    "create -t 0 /k",
    "create -t -5 /k",
    "create -t 1099511627776 /k",
    "create -t abc /k",
    "create -t 5 -e /k",
    "create -t 5 -c /k",
    "create -t",
    "create",
    "create -z /k",
    "create --sequential /k",
    "create k",
    "create /k/",
    "create //k",
    "create /k/../l",
    "create /k/.",
    "create /",
    "create / x",
    "create '' x",
    "create /with-acl x world:anyone:cdrwa",
    "create /with-acl/r x world:anyone:r",
    "create /bad-acl x foo:bar:cdrwa",
    "create /bad-acl x auth::cdrwa",
    "create /bad-acl x ip:not-an-ip:r",
    "create /中文 数据",
    "create /中文/路径 '你好 世界'",
    "create /🐎 x",
    "create /-v x",
    "create /quoted it's",
    // get
    "get /a",
    "get -s /a",
    "get /null",
    "get -s /null",
    "get /empty",
    "get /empty2",
    "get /container",
    "get /a/b",
    "get -b /a/b",
    "get -x /a/b",
    "get -b -x /a",
    "get -b /null",
    "get -x /null",
    "get -x /empty",
    "get -b /empty",
    "get /中文",
    "get -s /中文/路径",
    "get -x /中文/路径",
    "get /quoted",
    "get -sb /a",
    "get /nothing",
    "get /nothing/at/all",
    "get",
    "get -s",
    "get -q /a",
    "get a",
    "get /a/",
    "get /",
    "get -s /",
    // set
    "set /a one",
    "set -s /a two",
    "set /a three -v 2",
    "set /a three -v 2",
    "set /a four -v -1",
    "set -b /a aGVsbG8=",
    "get /a",
    "set -s -v 99 /a x",
    "set /nothing x",
    "set /a",
    "set",
    "set / root",
    "set / ''",
    "set a x",
    "set -v",
    "set /a -- -x",
    "get /a",
    // ls
    "ls /",
    "ls /a",
    "ls -s /a",
    "ls -R /a",
    "ls -R /",
    "ls -s -R /a",
    "ls -R /nothing",
    "ls -R a",
    "ls /nothing",
    "ls /中文",
    "ls /null",
    "ls",
    "ls -x /",
    "ls a",
    // stat
    "stat /a",
    "stat /null",
    "stat /a/eph",
    "stat /ttl",
    "stat /container",
    "stat /nothing",
    "stat",
    "stat a",
    "stat -s /a",
    // old forms
    "get /null watch",
    "ls /null true",
    "stat /null watch",
    "get /nothing watch",
    "ls /nothing watch",
    "stat /nothing watch",
    "delete /nothing 3",
    "get - /null",
    "set /null x",
    // versions
    "delete -v 7 /a/b",
    "delete -v 0 /a/b",
    "delete /a",
    "delete /nothing",
    "delete",
    "delete a",
    "delete /",
    // ACLs
    "getAcl /a",
    "getAcl -s /a",
    "getAcl /with-acl/r",
    "getAcl /nothing",
    "getAcl",
    "getAcl a",
    "setAcl /with-acl/r world:anyone:r",
    "setAcl /with-acl world:anyone:cdrw",
    "getAcl /with-acl",
    "setAcl /with-acl world:anyone:r",
    "setAcl -s /empty world:anyone:cdrwa",
    "setAcl -v 1 /empty world:anyone:crwda",
    "setAcl -v 1 /empty world:anyone:crwda",
    "setAcl /empty ip:127.0.0.1:cdrwa,world:anyone:r",
    "getAcl /empty",
    "setAcl /empty digest:u:Vm1hc2hlZA==:a,world:anyone:cdrwa",
    "getAcl -s /empty",
    "setAcl /empty sasl:x:r",
    "setAcl /nothing world:anyone:r",
    "setAcl /empty",
    "setAcl",
    "create /tree x",
    "create /tree/a x",
    "create /tree/a/b x",
    "setAcl -R /tree ip:127.0.0.1:cdrwa",
    "getAcl /tree/a/b",
    "setAcl -R /nothing world:anyone:r",
    // identities
    "whoami",
    "addauth digest alice:secret",
    "whoami",
    "addauth",
    "create /private x auth::cdrwa",
    "getAcl /private",
    "get /private",
    "create /denied x digest:bob:xvq8L0z5FSPCBRXKEkNCrgD3lPg=:r",
    "get /denied",
    "set /denied x",
    "ls /denied",
    "getAcl /denied",
    "setAcl /denied world:anyone:r",
    "create /denied/x y",
    "deleteall /denied",
    // quotas
    "create /q x",
    "create /q/1 x",
    "create /q/1/2 x",
    "listquota /q",
    "delquota /q",
    "setquota -n 10 /q",
    "listquota /q",
    "setquota -b 1000 /q",
    "setquota -N 20 /q",
    "setquota -B 2000 /q",
    "listquota /q",
    "setquota -n 1 /q/1",
    "setquota -n 1 /q/1/2",
    "setquota -n 1 /nothing",
    "setquota -n 1",
    "setquota /q",
    "setquota -n 1 -b 1 /q",
    "setquota -n /q",
    "setquota -n x /q",
    "listquota",
    "listquota /nothing",
    "listquota /",
    "listquota q",
    "delquota -n /q",
    "listquota /q",
    "delquota -b -N /q",
    "delquota",
    "get /zookeeper/quota/q",
    "get /zookeeper/quota/q/zookeeper_limits",
    "delquota /q",
    "listquota /q",
    "ls -R /zookeeper",
    "setquota -b 5 /q/1",
    "setquota -b 5 /q",
    "delquota /q/1",
    "delquota /q/1",
    // counts, ephemerals, sync
    "getAllChildrenNumber /a",
    "getAllChildrenNumber /",
    "getAllChildrenNumber /nothing",
    "getAllChildrenNumber",
    "getAllChildrenNumber a",
    "getEphemerals /nothing",
    "getEphemerals /a/eph",
    "sync /",
    "sync /a",
    "sync /nothing",
    "sync",
    "sync a",
    // configuration
    "config",
    "config -s",
    "config -c",
    "config -x",
    "reconfig",
    "reconfig -add",
    "reconfig -add server.9=127.0.0.1:1:2;3",
    "reconfig -remove 9",
    "reconfig -members server.1=127.0.0.1:1:2;3 -add x",
    "reconfig -file /no/such/file -members x",
    "reconfig -v xyz -remove 1",
    // watches
    "create /w x",
    "get -w /w",
    "set /w y",
    "set /w z",
    "stat -w /w",
    "ls -w /w",
    "create /w/child x",
    "set /w z",
    "stat -w /w/later",
    "create /w/later x",
    "addWatch -m PERSISTENT /w",
    "set /w 1",
    "set /w 2",
    "get -w /w",
    "set /w 3",
    "create /w/third x",
    "removewatches /w -p",
    "set /w 4",
    "addWatch -m PERSISTENT_RECURSIVE /w",
    "set /w/child 5",
    "create /w/child/below 6",
    "delete /w/child/below",
    "removewatches /w -r",
    "set /w/child 7",
    "get -w /w",
    "ls -w /w",
    "removewatches /w -c",
    "removewatches /w -c",
    "create /w/fourth x",
    "removewatches /w -d",
    "removewatches /w -a",
    "removewatches /w",
    "get -w /w",
    "ls -w /w",
    "delete /w/fourth",
    "removewatches /w -a -l",
    "removewatches",
    "removewatches a",
    "addWatch",
    "addWatch -m ODD /w",
    "addWatch /w /x",
    "get -w /w/third",
    "ls -w /w/third",
    "delete /w/third",
    "config -w",
    "printwatches",
    "get -w /w",
    "printwatches off",
    "printwatches",
    "set /w quiet",
    "printwatches on",
    // deleteall
    "deleteall /tree",
    "deleteall /w -b 1",
    "deleteall /q -b 0",
    "deleteall /nothing",
    "deleteall",
    "deleteall /a -b x",
    "deleteall a",
    "deleteall /a",
    "deleteall /",
    "ls /",
    // the shell itself
    "foo",
    "version 1",
    "redo 99999",
    "redo -1",
    "close",
    "ls /",
    "get /null",
];

/// Marks between the lines, so that a difference is found where it begins: one on each stream.
fn with_marks(lines: &[&str]) -> String {
    let mut script = String::new();
    for (at, line) in lines.iter().enumerate() {
        let _ = writeln!(script, "create -e /mark \"mark {at}: {}\"", line.replace('"', "'"));
        let _ = writeln!(script, "get /mark\ndelete /mark\nget /mark-{at}\n{line}");
    }
    script
}

#[test]
fn every_command_in_a_script() {
    let script = with_marks(LINES);
    for pair in servers().into_iter().zip(servers()) {
        let ((_dir, one), (_other_dir, other)) = pair;
        let at = [one.addr(), other.addr()];
        let [apache, ostler] =
            [(PROGRAMS[0], at[0]), (PROGRAMS[1], at[1])].map(|(program, addr)| program.script(addr, &script));
        let name = one.name();
        assert_same(&format!("standard output, at {name}"), &apache.out, &ostler.out);
        assert_same(&format!("standard error, at {name}"), &apache.err, &ostler.err);
        assert_same(&format!("events, at {name}"), &apache.events, &ostler.events);
        assert!(apache.out.len() > LINES.len() && apache.events.len() > 15, "{apache:?}");
    }
}

/// What servers refuse that enforce quotas.
const OVER_QUOTA: &[&str] = &[
    "create /q x",
    "setquota -N 2 /q",
    "create /q/1 x",
    "create /q/2 x",
    "create -s /q/s x",
    "create -c /q/c",
    "create -t 10000 /q/t x",
    "delquota /q",
    "setquota -B 5 /q",
    "set /q 0123456789",
    "set -s /q 0123456789",
    "create /q/3 0123456789",
    "create /q/3",
    "listquota /q",
    "set /q xx",
    "listquota /q",
    "setquota -n 1 /q",
    "create /q/4",
    "delete /q/4",
    "delquota -B /q",
    "create /q/5 01234567890123",
];

#[test]
fn what_goes_over_a_quota() {
    let script = with_marks(OVER_QUOTA);
    let cfg = ["enforceQuota=true", "extendedTypesEnabled=true"];
    for pair in servers_with(&cfg).into_iter().zip(servers_with(&cfg)) {
        let ((_dir, one), (_other_dir, other)) = pair;
        let [apache, ostler] = [(PROGRAMS[0], one.addr()), (PROGRAMS[1], other.addr())]
            .map(|(program, addr)| program.script(addr, &script));
        assert_same(&format!("standard output, at {}", one.name()), &apache.out, &ostler.out);
        assert_same(&format!("standard error, at {}", one.name()), &apache.err, &ostler.err);
        let refused = ostler.err.iter().filter(|line| line.contains("Quota has exceeded : ")).count();
        assert!(refused > 5, "{:?}", ostler.err);
    }
}

/// One command a process: text and exit code.
#[test]
fn single_commands() {
    let cases: &[&[&str]] = &[
        &["create", "/a", "hello world"],
        &["get", "/a"],
        &["get", "-s", "/a"],
        &["ls", "/"],
        &["get", "/nothing"],
        &["create", "/a", "x"],
        &["delete", "-v", "5", "/a"],
        &["foo"],
        &["get"],
        &["get", "-q", "/a"],
        &["create", "/中文 路径", "数据"],
        &["get", "/中文 路径"],
        &["whoami"],
        &["printwatches"],
        &["quit"],
    ];
    for pair in servers().into_iter().zip(servers()) {
        let ((_dir, one), (_other_dir, other)) = pair;
        for words in cases {
            let said: Vec<Said> = PROGRAMS
                .iter()
                .zip([one.addr(), other.addr()])
                .map(|(program, addr)| program.one_shot(addr, words))
                .collect();
            let name = format!("{words:?} at {}", one.name());
            assert_same(&format!("standard output of {name}"), &said[0].out, &said[1].out);
            assert_same(&format!("standard error of {name}"), &said[0].err, &said[1].err);
            assert_eq!(said[0].code, said[1].code, "exit code of {name}");
        }
    }
}
