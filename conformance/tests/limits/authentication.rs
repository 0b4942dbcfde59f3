//! Enforced schemes, providers, digest algorithms, the super user, skipACL.

use anyhow::Result;
use ostler_conformance::script::{Body, OPEN, Talk, auth, create, create_acl, path, path_version, set, set_acl, watch};

use super::{Both, refused};

const PROVIDERS: [&str; 3] = [
    "authProvider.1=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
    "authProvider.key=org.apache.zookeeper.server.auth.KeyAuthenticationProvider",
    "ensembleAuthName=one, two,",
];

#[test]
fn enforced_schemes_and_providers() {
    let cfg = [&PROVIDERS[..], &["enforce.auth.enabled=true", "enforce.auth.schemes=digest"]].concat();
    let lines = Both::start(&cfg, &[]).converse(|talk| {
        without_an_identity(talk)?;
        with_one(talk)?;
        ensemble(talk)?;
        key(talk)
    });
    assert!(lines.iter().filter(|line| line.contains("err=-124")).count() > 15, "{lines:#?}");
}

fn without_an_identity(talk: &mut Talk) -> Result<()> {
    talk.part("nothing is done without an identity");
    let requests = [
        (11, vec![]),
        (-11, vec![]),
        (1, create("/a", b"", 0)),
        (1, vec![]),
        (2, path_version("/a", -1)),
        (3, watch("/", true)),
        (4, watch("/", false)),
        (5, set("/", None, -1)),
        (7, set_acl("/", OPEN, -1)),
        (9, path("/")),
        (14, vec![]),
        (101, vec![0; 20]),
        (107, vec![]),
        (0, vec![]),
        (12345, vec![]),
        (-10, vec![0; 4]),
    ];
    for (op, body) in requests {
        talk.connect("none")?;
        talk.call("none", op, &body)?;
        talk.until_closed("none")?;
    }
    talk.part("nor is what stands behind it");
    talk.connect("none")?;
    talk.send("none", 1, &create("/b", b"", 0))?;
    talk.send("none", 100, &auth("digest", b"u:p"))?;
    talk.send("none", 1, &create("/c", b"", 0))?;
    talk.until_closed("none")?;
    talk.part("SASL tokens and logins are for everybody");
    talk.connect("none")?;
    talk.call("none", 102, &Body::new().buffer(Some(b"token")).0)?;
    talk.call("none", 100, &auth("ip", b""))?;
    talk.call("none", 100, &auth("ensemble", b"one"))?;
    talk.ping("none")?;
    talk.until_closed("none")
}

fn with_one(talk: &mut Talk) -> Result<()> {
    talk.part("with an identity");
    talk.connect("user")?;
    talk.call("user", 100, &auth("digest", b"user:secret"))?;
    talk.ping("user")?;
    for created in ["/a", "/b", "/c"] {
        talk.call("user", 4, &watch(created, false))?;
    }
    talk.call("user", 1, &create("/a", b"x", 0))?;
    talk.call("user", 107, &[])?;
    talk.part("a null instead of credentials");
    talk.connect("null")?;
    talk.call("null", 100, &Body::new().int(0).text("digest").buffer(None).0)?;
    talk.until_closed("null")
}

fn ensemble(talk: &mut Talk) -> Result<()> {
    talk.part("names of the ensemble");
    for name in [&b""[..], b"one", b"two"] {
        talk.call("user", 100, &auth("ensemble", name))?;
    }
    talk.call("user", 100, &Body::new().int(0).text("ensemble").buffer(None).0)?;
    talk.call("user", 107, &[])?;
    for (at, name) in [&b"three"[..], b"one, two", b" two", b"ONE"].into_iter().enumerate() {
        talk.connect("stranger")?;
        talk.send("stranger", 100, &auth("ensemble", name))?;
        talk.send("stranger", 1, &create(&format!("/stranger{at}"), b"", 0))?;
        talk.until_closed("stranger")?;
    }
    let list = [(31, "ensemble", "one")];
    talk.call("user", 1, &create_acl("/ensemble", None, &list, 0))?;
    Ok(())
}

fn key(talk: &mut Talk) -> Result<()> {
    talk.part("the sample scheme key, before there is one");
    talk.connect("keyed")?;
    talk.call("keyed", 100, &auth("digest", b"keyed:secret"))?;
    talk.call("keyed", 100, &auth("key", b"anything"))?;
    talk.call("keyed", 107, &[])?;
    talk.call("keyed", 1, &create_acl("/mine", Some(b"x"), &[(31, "auth", "")], 0))?;
    talk.call("keyed", 1, &create_acl("/keyed", Some(b"x"), &[(31, "key", "")], 0))?;
    talk.call("user", 4, &watch("/keyed", false))?;
    talk.part("and with one");
    for data in [Some(&b"7"[..]), Some(b"0"), Some(b"x"), None, Some(b"-1")] {
        talk.call("user", 2, &path_version("/key", -1))?;
        talk.call("user", 1, &create_acl("/key", data, OPEN, 0))?;
        for number in [&b"21"[..], b"22", b"-7", b"+14", b"0", b"x", b"", b"4294967296", b"-2147483648", b" 7"] {
            talk.connect("guess")?;
            let xid = talk.send("guess", 100, &auth("key", number))?;
            talk.until_or_closed("guess", xid)?;
            talk.hang_up("guess");
        }
        talk.connect("guess")?;
        let xid = talk.send("guess", 100, &Body::new().int(0).text("key").buffer(None).0)?;
        talk.until_or_closed("guess", xid)?;
        talk.hang_up("guess");
    }
    Ok(())
}

#[test]
fn another_digest_and_its_super_user() {
    let cfg = [
        "DigestAuthenticationProvider.digestAlg=SHA3-256",
        "DigestAuthenticationProvider.superDigest=super:cRy/KPYuDpW/dtsepniTMpuiuupnWgdU9txltIfv3hA=",
    ];
    let lines = Both::start(&cfg, &[]).converse(|talk| {
        talk.connect("alice")?;
        talk.call("alice", 100, &auth("digest", b"alice:secret"))?;
        talk.call("alice", 1, &create_acl("/alice", Some(b"x"), &[(31, "auth", "")], 0))?;
        talk.call("alice", 6, &path("/alice"))?;
        for password in [&b"super:test"[..], b"super:other", b"other:test"] {
            talk.connect("super")?;
            talk.call("super", 100, &auth("digest", password))?;
            talk.call("super", 107, &[])?;
            talk.call("super", 4, &watch("/alice", false))?;
            talk.call("super", 6, &path("/alice"))?;
        }
        Ok(())
    });
    assert!(lines.iter().any(|line| line.contains("super:")) || lines.len() > 10);
}

#[test]
fn skip_acl_and_no_digest() {
    let cfg = ["skipACL=yes", "DigestAuthenticationProvider.enabled=false"];
    Both::start(&cfg, &[]).converse(|talk| {
        talk.connect("a")?;
        for list in
            [&[(31, "digest", "a:b")][..], &[(31, "auth", "")], &[(0, "world", "anyone")], &[(1, "ip", "1.2.3.4")]]
        {
            talk.call("a", 1, &create_acl("/skip", Some(b"x"), list, 0))?;
            talk.call("a", 4, &watch("/skip", false))?;
            talk.call("a", 5, &set("/skip", Some(b"y"), -1))?;
            talk.call("a", 7, &set_acl("/skip", list, -1))?;
            talk.call("a", 6, &path("/skip"))?;
            talk.call("a", 1, &create("/skip/child", b"", 0))?;
            talk.call("a", 2, &path_version("/skip/child", -1))?;
            talk.call("a", 2, &path_version("/skip", -1))?;
        }
        talk.call("a", 100, &auth("digest", b"a:b"))?;
        talk.until_closed("a")
    });
}

#[test]
fn starts_that_are_refused() {
    for (cfg, apaches, ours) in [
        (&["enforce.auth.enabled=true"][..], "must be  configured", "enforce.auth.schemes is not set"),
        (
            &["enforce.auth.enabled=true", "enforce.auth.schemes="],
            "is not available",
            "enforce.auth.schemes is not set",
        ),
        (&["enforce.auth.enabled=true", "enforce.auth.schemes=world"], "scheme world is not available", "\"world\""),
        (&["enforce.auth.enabled=true", "enforce.auth.schemes=digest,x,"], "scheme x is not available", "\"x\""),
        (&["sessionRequireClientSASLAuth=true"], "scheme sasl is not available", "SASL is not built yet"),
        (&["minSessionTimeout=9", "maxSessionTimeout=8"], "must not be larger than", "larger than maxSessionTimeout"),
    ] {
        let (code, text) = refused("apache", cfg);
        assert!(code != 0 && text.contains(apaches), "Apache, {cfg:?}: {code} {text}");
        let (code, text) = refused("ostler", cfg);
        assert!(code == 2 && text.lines().last().unwrap().contains(ours), "Ostler, {cfg:?}: {code} {text}");
    }
    // The configuration file is to blame, so both say 2.
    assert_eq!(refused("apache", &["minSessionTimeout=9", "maxSessionTimeout=8"]).0, 2);
}
