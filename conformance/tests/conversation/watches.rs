//! Watches: what fires, in which order, before which reply.

use anyhow::Result;
use ostler_conformance::script::{Body, Talk, create, create_acl, multi, path_version, set, set_acl, watch};

pub fn run(talk: &mut Talk) -> Result<()> {
    talk.connect("a")?;
    talk.connect("b")?;
    talk.connect("w")?;
    one_shot(talk)?;
    of_others(talk)?;
    of_multis(talk)?;
    acl_filter(talk)?;
    persistent(talk)?;
    removal(talk)?;
    set_watches(talk)?;
    talk.close("a")?;
    talk.close("b")?;
    talk.close("w")
}

fn one_shot(talk: &mut Talk) -> Result<()> {
    talk.part("one-shot watches on one's own changes");
    talk.call("a", 3, &watch("/o", true))?;
    talk.call("a", 4, &watch("/o", true))?;
    talk.call("a", 8, &watch("/o", true))?;
    talk.call("a", 12, &watch("/", true))?;
    talk.call("a", 1, &create("/o", b"", 0))?;
    talk.call("a", 5, &set("/o", Some(b"not watched"), -1))?;
    talk.call("a", 4, &watch("/o", true))?;
    talk.call("a", 3, &watch("/o", true))?;
    talk.call("a", 5, &set("/o", Some(b"1"), 9))?;
    talk.call("a", 5, &set("/o", Some(b"1"), -1))?;
    talk.call("a", 5, &set("/o", Some(b"2"), -1))?;
    talk.call("a", 8, &watch("/o", true))?;
    talk.call("a", 1, &create("/o/c", b"", 0))?;
    talk.call("a", 1, &create("/o/d", b"", 0))?;
    talk.call("a", 12, &watch("/o", true))?;
    talk.call("a", 3, &watch("/o", true))?;
    talk.call("a", 5, &set("/o/c", Some(b""), -1))?;
    talk.call("a", 7, &set_acl("/o", &[(31, "world", "anyone")], -1))?;
    talk.call("a", 2, &path_version("/o/c", -1))?;
    talk.call("a", 12, &watch("/o", true))?;
    talk.call("a", 12, &watch("/", true))?;
    talk.call("a", 2, &path_version("/o/d", -1))?;
    talk.call("a", 8, &watch("/o", true))?;
    talk.call("a", 4, &watch("/o", true))?;
    talk.call("a", 2, &path_version("/o", -1))?;
    talk.call("a", 3, &watch("/o", true))?;
    talk.ping("a")?;
    talk.part("watches and pipelining");
    let mut last = 0;
    for i in 0..20 {
        talk.send("a", 3, &watch("/o", true))?;
        last = match i % 3 {
            0 => talk.send("a", 1, &create("/o", b"", 0))?,
            1 => talk.send("a", 5, &set("/o", Some(&[i]), -1))?,
            _ => talk.send("a", 2, &path_version("/o", -1))?,
        };
        talk.send("a", 4, &watch("/o", true))?;
        talk.send("a", 8, &watch("/", true))?;
    }
    let _ = last;
    talk.ping("a")
}

fn of_others(talk: &mut Talk) -> Result<()> {
    talk.part("two clients that watch what a third does");
    talk.call("w", 1, &create("/t", b"", 0))?;
    for who in ["a", "b"] {
        talk.ping(who)?;
        talk.call(who, 4, &watch("/t", true))?;
        talk.call(who, 3, &watch("/t/n", true))?;
        talk.call(who, 8, &watch("/t", true))?;
    }
    talk.call("b", 12, &watch("/", true))?;
    talk.call("w", 1, &create("/t/n", b"", 1))?;
    talk.call("w", 5, &set("/t", Some(b"x"), -1))?;
    talk.call("w", 1, &create("/t2", b"", 0))?;
    talk.call("w", 2, &path_version("/t/n", -1))?;
    // A read after the reply to the write shows the change, so its events come first.
    for who in ["a", "b"] {
        talk.call(who, 4, &watch("/t", false))?;
        talk.ping(who)?;
    }
    talk.part("the end of a session");
    talk.connect("e")?;
    talk.call("e", 1, &create("/t/e", b"", 1))?;
    talk.call("a", 3, &watch("/t/e", true))?;
    talk.call("a", 8, &watch("/t", true))?;
    talk.call("b", 4, &watch("/t/e", true))?;
    talk.close("e")?;
    talk.ping("a")?;
    talk.ping("b")
}

fn of_multis(talk: &mut Talk) -> Result<()> {
    talk.part("multis");
    for who in ["a", "w"] {
        talk.call(who, 3, &watch("/t/m1", true))?;
        talk.call(who, 3, &watch("/t/m2", true))?;
        talk.call(who, 8, &watch("/t", true))?;
        talk.call(who, 4, &watch("/t", true))?;
    }
    let ops = [
        (1, create("/t/m1", b"", 0)),
        (5, set("/t", Some(b"m"), -1)),
        (1, create("/t/m2", b"", 0)),
        (2, path_version("/t/m1", -1)),
    ];
    talk.call("w", 14, &multi(&[ops[0].clone(), ops[1].clone(), (13, path_version("/none", -1))]))?;
    talk.ping("a")?;
    talk.call("w", 14, &multi(&ops))?;
    talk.ping("a")?;
    talk.ping("w")
}

fn acl_filter(talk: &mut Talk) -> Result<()> {
    talk.part("events that one may not see");
    let private = [(31, "digest", "nobody:x"), (30, "world", "anyone")];
    talk.call("a", 3, &watch("/secret", true))?;
    talk.call("a", 8, &watch("/", true))?;
    talk.call("w", 1, &create_acl("/secret", Some(b""), &private, 0))?;
    talk.ping("a")?;
    talk.call("w", 7, &set_acl("/secret", &[(31, "world", "anyone")], -1))?;
    talk.call("w", 5, &set("/secret", Some(b"consumed"), -1))?;
    talk.ping("a")?;
    talk.call("a", 4, &watch("/secret", true))?;
    talk.call("a", 8, &watch("/secret", true))?;
    talk.call("w", 7, &set_acl("/secret", &private, -1))?;
    talk.call("w", 5, &set("/secret", Some(b"unseen"), -1))?;
    talk.call("w", 1, &create("/secret/c", b"", 0))?;
    talk.ping("a")?;
    talk.call("w", 2, &path_version("/secret/c", -1))?;
    talk.call("w", 2, &path_version("/secret", -1))?;
    talk.ping("a")
}

fn persistent(talk: &mut Talk) -> Result<()> {
    talk.part("addWatch");
    for (target, mode) in
        [("/p", 0), ("/p", 0), ("/pr", 1), ("/pr/deep/er", 1), ("/p", 2), ("/p", -1), ("", 0), ("x", 1)]
    {
        talk.call("a", 106, &Body::new().text(target).int(mode).0)?;
    }
    talk.call("b", 106, &Body::new().text("/").int(1).0)?;
    for target in ["/p", "/p/c", "/pr", "/pr/deep", "/pr/deep/er", "/pr/deep/er/est"] {
        talk.call("w", 1, &create(target, b"", 0))?;
        talk.call("w", 5, &set(target, Some(b"x"), -1))?;
    }
    talk.ping("a")?;
    talk.ping("b")?;
    talk.part("persistent and one-shot together");
    talk.call("a", 4, &watch("/p", true))?;
    talk.call("a", 8, &watch("/p", true))?;
    talk.call("a", 4, &watch("/pr/deep", true))?;
    talk.call("w", 5, &set("/p", Some(b"y"), -1))?;
    talk.call("w", 2, &path_version("/p/c", -1))?;
    talk.call("w", 5, &set("/pr/deep", Some(b"y"), -1))?;
    talk.call(
        "w",
        14,
        &multi(&[
            (2, path_version("/pr/deep/er/est", -1)),
            (2, path_version("/pr/deep/er", -1)),
            (2, path_version("/pr/deep", -1)),
            (2, path_version("/p", -1)),
        ]),
    )?;
    talk.call("w", 1, &create("/p", b"", 0))?;
    talk.ping("a")?;
    talk.ping("b")
}

fn removal(talk: &mut Talk) -> Result<()> {
    talk.part("removeWatches and checkWatches");
    talk.call("b", 3, &watch("/p", true))?;
    talk.call("b", 8, &watch("/p", true))?;
    talk.call("b", 106, &Body::new().text("/p").int(0).0)?;
    let of = |target: &str, kind: i32| Body::new().text(target).int(kind).0;
    for kind in [0, 1, 2, 3, 4, 5, 6, -1] {
        for target in ["/p", "/", "/none", ""] {
            talk.call("b", 17, &of(target, kind))?;
        }
    }
    for (target, kind) in
        [("/p", 1), ("/p", 1), ("/p", 4), ("/p", 4), ("/p", 5), ("/", 5), ("/", 5), ("/p", 3), ("/p", 3), ("/p", 9)]
    {
        talk.call("b", 18, &of(target, kind))?;
        talk.call("b", 17, &of(target, 3))?;
    }
    talk.call("a", 18, &of("/p", 3))?;
    talk.call("a", 18, &of("/pr", 3))?;
    talk.call("w", 5, &set("/p", Some(b"unwatched"), -1))?;
    talk.ping("a")?;
    talk.ping("b")
}

fn set_watches(talk: &mut Talk) -> Result<()> {
    talk.part("setWatches");
    talk.call("w", 1, &create("/sw", b"", 0))?;
    talk.call("w", 1, &create("/sw/old", b"", 0))?;
    let seen = talk.call("w", 1, &create("/sw/kids", b"", 0))?.zxid;
    talk.call("w", 1, &create("/sw/new", b"", 0))?;
    talk.call("w", 5, &set("/sw", Some(b"changed"), -1))?;
    talk.call("w", 1, &create("/sw/kids/k", b"", 0))?;
    let all = ["/sw", "/sw/old", "/sw/new", "/sw/none", "/sw/kids"];
    let three = |zxid: i64| Body::new().long(zxid).texts(&all).texts(&all).texts(&all);
    talk.call("a", 101, &three(seen).0)?;
    talk.call("b", 105, &three(seen).texts(&["/sw", "/pw"]).texts(&["/rw"]).0)?;
    talk.call("w", 5, &set("/sw", Some(b"again"), -1))?;
    talk.call("w", 5, &set("/sw/old", Some(b"again"), -1))?;
    talk.call("w", 1, &create("/sw/none", b"", 0))?;
    talk.call("w", 1, &create("/rw", b"", 0))?;
    talk.call("w", 1, &create("/rw/x", b"", 0))?;
    talk.call("w", 1, &create("/pw", b"", 0))?;
    talk.call("w", 2, &path_version("/sw/new", -1))?;
    talk.ping("a")?;
    talk.ping("b")?;
    talk.call("a", 101, &Body::new().long(i64::MAX).texts(&all).texts(&all).texts(&all).0)?;
    talk.call("a", 101, &Body::new().long(0).int(-1).int(-1).int(-1).0)?;
    talk.call("a", 101, &Body::new().long(0).texts(&["/sw"]).0)?;
    talk.call("b", 105, &three(0).0)?;
    talk.call("w", 5, &set("/sw", Some(b"last"), -1))?;
    talk.ping("a")?;
    talk.ping("b")
}
