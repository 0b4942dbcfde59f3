//! multi: all or none.

use anyhow::Result;
use ostler_conformance::script::{Body, OPEN, Talk, create, create_acl, multi, path_version, set, set_acl, watch};

pub fn run(talk: &mut Talk) -> Result<()> {
    talk.part("multi");
    talk.connect("a")?;
    talk.call("a", 1, &create("/m", b"", 0))?;
    talk.call("a", 1, &create("/m/there", b"v0", 0))?;
    talk.call("a", 14, &multi(&[]))?;
    successes(talk)?;
    failures(talk)?;
    rollback(talk)?;
    unparseable(talk)?;
    talk.part("many operations");
    let many: Vec<_> = (0..1000).map(|i| (1, create(&format!("/m/many-{i}"), b"", 0))).collect();
    talk.call("a", 14, &multi(&many))?;
    talk.call("a", 12, &watch("/m", false))?;
    talk.close("a")
}

fn successes(talk: &mut Talk) -> Result<()> {
    talk.call(
        "a",
        14,
        &multi(&[
            (1, create("/m/p", b"", 0)),
            (1, create("/m/p/c", b"", 0)),
            (5, set("/m/p", Some(b"1"), 0)),
            (13, path_version("/m/p", 1)),
            (5, set("/m/p", Some(b"2"), 1)),
            (15, create("/m/p/s-", b"", 2)),
            (1, create("/m/p/s-", b"", 3)),
            (15, create("/m/p/e", b"mine", 1)),
            (2, path_version("/m/p/c", -1)),
            (1, create("/m/p/c", b"again", 0)),
            (2, path_version("/m/there", 0)),
            (19, create("/m/box", b"", 4)),
            (1, create("/m/box/x", b"", 0)),
            (13, path_version("/m/box/x", -1)),
        ]),
    )?;
    for target in ["/m", "/m/p", "/m/p/c", "/m/box", "/m/p/e"] {
        talk.call("a", 12, &watch(target, false))?;
        talk.call("a", 4, &watch(target, false))?;
    }
    talk.call("a", 14, &multi(&[(13, path_version("/m", -1))]))?;
    // Made and gone in one.
    talk.call("a", 14, &multi(&[(1, create("/m/short", b"", 0)), (2, path_version("/m/short", -1))]))?;
    talk.call("a", 3, &watch("/m/short", false))?;
    Ok(())
}

fn failures(talk: &mut Talk) -> Result<()> {
    talk.part("each failing position, each reason");
    let bad: Vec<(i32, Vec<u8>)> = vec![
        (1, create("/m", b"", 0)),
        (1, create("/m/none/x", b"", 0)),
        (1, create("/m/bad//x", b"", 0)),
        (1, create("/m/p/e/x", b"", 0)),
        (1, create_acl("/m/x", None, &[], 0)),
        (15, create_acl("/m/x", None, &[(31, "none", "x")], 0)),
        (2, path_version("/m", -1)),
        (2, path_version("/m/none", -1)),
        (2, path_version("/", -1)),
        (2, path_version("/m/p/c", 7)),
        (5, set("/m/none", None, -1)),
        (5, set("/m/p", None, 77)),
        (5, set("", None, 77)),
        (13, path_version("/m/none", -1)),
        (13, path_version("/m/p", 77)),
        (13, path_version("", 77)),
        (21, Body::new().raw(&create("/m/ttl", b"", 5)).long(1000).0),
    ];
    for failing in &bad {
        for position in 0..4 {
            let mut ops: Vec<(i32, Vec<u8>)> = vec![
                (1, create("/m/f", b"", 0)),
                (5, set("/m/p", Some(b"never"), -1)),
                (2, path_version("/m/p/c", -1)),
            ];
            ops.insert(position, failing.clone());
            talk.call("a", 14, &multi(&ops))?;
        }
    }
    let all_bad: Vec<_> = bad.iter().take(5).cloned().collect();
    talk.call("a", 14, &multi(&all_bad))?;
    talk.call("a", 12, &watch("/m", false))?;
    talk.call("a", 4, &watch("/m/p", false))?;
    Ok(())
}

fn rollback(talk: &mut Talk) -> Result<()> {
    talk.part("what a failed multi leaves, pipelined");
    let failing =
        multi(&[(1, create("/m/r-", b"", 2)), (5, set("/m/p", Some(b"no"), -1)), (13, path_version("/m/none", -1))]);
    let mut last = 0;
    for i in 0..5 {
        talk.send("a", 1, &create("/m/r-", b"", 2))?;
        talk.send("a", 14, &failing)?;
        talk.send("a", 5, &set("/m/p", Some(&[i]), -1))?;
        last = talk.send("a", 14, &multi(&[(1, create("/m/r-", b"", 2)), (5, set("/m/p", Some(b"yes"), -1))]))?;
    }
    talk.until("a", last, 14)?;
    talk.call("a", 12, &watch("/m", false))?;
    talk.call("a", 4, &watch("/m/p", false))?;
    Ok(())
}

fn unparseable(talk: &mut Talk) -> Result<()> {
    talk.part("multis that can't be read");
    let good = (1, create("/m/never", b"", 0));
    for body in [
        multi(&[good.clone(), (4, watch("/m", false))]),
        multi(&[good.clone(), (12, watch("/m", false))]),
        multi(&[good.clone(), (7, set_acl("/m", OPEN, -1))]),
        multi(&[good.clone(), (99, Vec::new())]),
        multi(&[good.clone(), (14, multi(&[]))]),
        multi(&[good.clone(), (1, create("/m/x", b"", 77))]),
        multi(&[good.clone(), (20, Body::new().text("/m/x").0)]),
        multi(std::slice::from_ref(&good))[..20].to_vec(),
        Body::new().int(1).byte(0).int(-1).0,
        Vec::new(),
        vec![0; 5],
    ] {
        talk.call("a", 14, &body)?;
    }
    // Where the end says something else than -1, and what stands behind the end.
    talk.call("a", 14, &Body::new().int(1).byte(1).int(-1).0)?;
    talk.call("a", 14, &Body::new().raw(&multi(&[(13, path_version("/m", -1))])).raw(b"behind").0)?;
    talk.call("a", 3, &watch("/m/never", false))?;
    Ok(())
}
