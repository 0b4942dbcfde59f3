//! ACLs and identities.

use anyhow::Result;
use ostler_conformance::script::{Talk, auth, create, create_acl, multi, path, path_version, set, set_acl, watch};

/// `alice:secret` and `bob:secret`, as ACLs hold them.
const ALICE: &str = "alice:SBf7kcBDLc7P9uy7HIHK8pI3NbI=";

pub fn run(talk: &mut Talk) -> Result<()> {
    talk.part("identities");
    talk.connect("a")?;
    talk.connect("b")?;
    talk.call("a", 100, &auth("digest", b"alice:secret"))?;
    talk.call("a", 100, &auth("digest", b"alice:secret"))?;
    talk.call("a", 107, &[])?;
    talk.call("b", 107, &[])?;
    talk.call("b", 100, &auth("ip", b"127.0.0.1"))?;
    talk.call("b", 107, &[])?;
    fix_ups(talk)?;
    permissions(talk)?;
    addresses(talk)?;
    refused_auth(talk)?;
    superuser(talk)?;
    talk.close("a")?;
    talk.close("b")
}

fn fix_ups(talk: &mut Talk) -> Result<()> {
    talk.part("ACLs as they are written");
    talk.call("a", 1, &create("/acl", b"", 0))?;
    let long = [(1, "world", "anyone"); 3];
    let lists: &[&[(i32, &str, &str)]] = &[
        &[],
        &[(31, "world", "anyone")],
        &[(31, "world", "someone")],
        &[(31, "world", "")],
        &[(0, "world", "anyone")],
        &[(-1, "world", "anyone")],
        &[(31, "auth", "")],
        &[(31, "auth", "ignored")],
        &[(1, "world", "anyone"), (31, "auth", "")],
        &[(31, "auth", ""), (31, "auth", "")],
        &[(31, "digest", "x")],
        &[(31, "digest", "x:y")],
        &[(31, "digest", "x:y:z")],
        &[(31, "digest", ":y")],
        &[(31, "digest", "x:")],
        &[(31, "digest", "")],
        &[(31, "super", "")],
        &[(31, "sasl", "me")],
        &[(31, "x509", "CN=me")],
        &[(31, "none", "me")],
        &[(31, "", "")],
        &[(31, "ip", "127.0.0.1")],
        &[(31, "ip", "127.0.0.1/8")],
        &[(31, "ip", "127.0.0.1/32")],
        &[(31, "ip", "127.0.0.1/33")],
        &[(31, "ip", "127.0.0.1/-1")],
        &[(31, "ip", "127.0.0.1/")],
        &[(31, "ip", "127.0.0.1/8/8")],
        &[(31, "ip", "127.0.0")],
        &[(31, "ip", "127.0.0.256")],
        &[(31, "ip", "::1")],
        &[(31, "ip", "fe80::/10")],
        &[(31, "ip", "::1/129")],
        &[(31, "ip", "host")],
        &[(1, "world", "anyone"), (31, "none", "me")],
        &long,
        &[(1, "world", "anyone"), (2, "world", "anyone"), (1, "world", "anyone")],
    ];
    for (at, list) in lists.iter().enumerate() {
        for who in ["a", "b"] {
            let target = format!("/acl/{who}{at}");
            talk.call(who, 1, &create_acl(&target, Some(b"x"), list, 0))?;
            for reader in ["a", "b"] {
                talk.call(reader, 6, &path(&target))?;
                talk.call(reader, 4, &watch(&target, false))?;
            }
        }
        talk.call("a", 7, &set_acl("/acl", list, 1000))?;
    }
    // A null list, and a null id in it.
    talk.call("a", 1, &[&[0, 0, 0, 6][..], b"/acl/n", &[255; 8], &[0; 4]].concat())?;
    talk.call(
        "a",
        1,
        &[&[0, 0, 0, 6][..], b"/acl/n", &[255; 4], &[0, 0, 0, 1, 0, 0, 0, 31], &[255; 8], &[0; 4]].concat(),
    )?;
    Ok(())
}

fn permissions(talk: &mut Talk) -> Result<()> {
    talk.part("permissions");
    for bit in 0..5 {
        let all_but = [(31 & !(1 << bit), "world", "anyone"), (31, "digest", ALICE)];
        let only = [(1 << bit, "world", "anyone"), (31, "digest", ALICE)];
        for (name, list) in [("but", all_but), ("only", only)] {
            let parent = format!("/perm-{name}-{bit}");
            let child = format!("{parent}/child");
            talk.call("a", 1, &create_acl(&parent, Some(b"p"), &list, 0))?;
            talk.call("a", 1, &create_acl(&child, Some(b"c"), &list, 0))?;
            talk.call("b", 1, &create(&format!("{parent}/new"), b"", 0))?;
            talk.call("b", 1, &create(&child, b"", 0))?;
            talk.call("b", 15, &create("/missing/child", b"", 0))?;
            for op in [3, 4, 8, 12] {
                talk.call("b", op, &watch(&parent, false))?;
            }
            talk.call("b", 6, &path(&parent))?;
            talk.call("b", 104, &path(&parent))?;
            talk.call("b", 5, &set(&parent, Some(b"b"), 9))?;
            talk.call("b", 5, &set(&parent, Some(b"b"), -1))?;
            talk.call("b", 14, &multi(&[(13, path_version(&parent, -1))]))?;
            talk.call("b", 2, &path_version(&child, 9))?;
            talk.call("b", 2, &path_version(&child, -1))?;
            talk.call("b", 7, &set_acl(&parent, &[(1, "world", "anyone")], 9))?;
            talk.call("b", 7, &set_acl(&parent, &[(1, "world", "anyone")], 0))?;
            talk.call("a", 6, &path(&parent))?;
            talk.call("a", 12, &watch(&parent, false))?;
        }
    }
    talk.call("a", 7, &set_acl("/acl", &[(31, "auth", "")], 0))?;
    talk.call("a", 7, &set_acl("/acl", &[(31, "auth", "")], 0))?;
    talk.call("a", 7, &set_acl("/acl", &[(31, "world", "anyone")], -1))?;
    talk.call("a", 7, &set_acl("/acl/none", &[(31, "world", "anyone")], -1))?;
    talk.call("a", 7, &set_acl("/acl/", &[(31, "none", "anyone")], -1))?;
    talk.call("a", 6, &path("/acl"))?;
    talk.call("a", 6, &path("/"))?;
    talk.call("a", 6, &path("/zookeeper/config"))?;
    talk.call("b", 5, &set("/zookeeper/config", Some(b""), -1))?;
    Ok(())
}

fn addresses(talk: &mut Talk) -> Result<()> {
    talk.part("addresses");
    for (at, id) in
        ["127.0.0.1", "127.0.0.2", "127.0.0.0/8", "127.0.0.0/31", "127.0.0.2/32", "128.0.0.0/0", "10.0.0.0/8", "::1"]
            .into_iter()
            .enumerate()
    {
        let target = format!("/ip{at}");
        talk.call("a", 1, &create_acl(&target, Some(b"x"), &[(3, "ip", id), (16, "world", "anyone")], 0))?;
        talk.call("b", 4, &watch(&target, false))?;
        talk.call("b", 5, &set(&target, Some(b"y"), -1))?;
        talk.call("b", 6, &path(&target))?;
        talk.call("b", 1, &create(&format!("{target}/x"), b"", 0))?;
    }
    Ok(())
}

fn refused_auth(talk: &mut Talk) -> Result<()> {
    talk.part("auth that is refused");
    for (scheme, data) in [("none", &b"x"[..]), ("", b""), ("world", b"anyone"), ("super", b"x"), ("auth", b"")] {
        talk.connect("c")?;
        talk.send_xid("c", -4, 100, &auth(scheme, data))?;
        talk.until_closed("c")?;
    }
    talk.connect("c")?;
    for data in [&b""[..], b"nocolon", b":", b"x:", b":x", b"a:b:c", b"\xff\xfe:\xff"] {
        talk.send_xid("c", -4, 100, &auth("digest", data))?;
        talk.read("c", 1)?;
        talk.call("c", 107, &[])?;
    }
    talk.close("c")
}

fn superuser(talk: &mut Talk) -> Result<()> {
    talk.part("super");
    talk.connect("s")?;
    talk.call("s", 4, &watch("/perm-but-0", false))?;
    talk.call("s", 100, &auth("digest", b"super:wrong"))?;
    talk.call("s", 4, &watch("/perm-but-0", false))?;
    // With both identities, the order in what "auth" stands for would be open.
    talk.close("s")?;
    talk.connect("s")?;
    talk.call("s", 100, &auth("digest", b"super:secret"))?;
    talk.call("s", 107, &[])?;
    for target in ["/perm-but-0", "/perm-only-1", "/ip1"] {
        talk.call("s", 4, &watch(target, false))?;
        talk.call("s", 6, &path(target))?;
        talk.call("s", 5, &set(target, Some(b"by super"), -1))?;
        talk.call("s", 7, &set_acl(target, &[(31, "world", "anyone")], -1))?;
    }
    talk.call("s", 5, &set("/zookeeper/config", Some(b""), -1))?;
    talk.call("s", 1, &create_acl("/by-super", Some(b""), &[(31, "auth", "")], 0))?;
    talk.close("s")
}
