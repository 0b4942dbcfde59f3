//! Every opcode with every kind of body that is wrong in some way, and with the xids that mean something: the same replies,
//! and the same connections closed.

use anyhow::Result;
use ostler_conformance::script::{Body, OPEN, Talk, auth, create, multi, path, path_version, set, set_acl, watch};

/// The znodes that the bodies name; the rest is unknown.
const ZNODES: [(&str, i32); 4] = [("/t", 0), ("/t/child", 0), ("/t/ephemeral", 1), ("/t/leaf", 0)];

/// Paths that are wrong, or odd.
const PATHS: [&str; 20] = [
    "",
    "/",
    "//",
    "relative",
    "/t/",
    "/t//x",
    "/t/.",
    "/t/..",
    "/t/./x",
    "/t/../x",
    "/unknown",
    "/unknown/x",
    "/t/\0",
    "/t/\u{1}",
    "/t/\u{7f}",
    "/t/\u{e000}",
    "/t/\u{fffd}",
    "/t/ephemeral/x",
    "/zookeeper",
    "/zookeeper/config",
];

/// The xids that mean something somewhere.
const XIDS: [i32; 7] = [-1, -2, -4, -8, 0, i32::MIN, i32::MAX];

pub fn run(talk: &mut Talk) -> Result<()> {
    // A write that can't be read costs Ostler a zxid, and Apache none: `Talk::outcome` makes up for it.
    talk.connect("t")?;
    talk.outcome("t", 1, 3, &watch("/", false))?;
    for (path, flags) in ZNODES {
        talk.outcome("t", 1, 1, &create(path, b"data", flags))?;
    }
    paths(talk)?;
    cut_and_longer(talk)?;
    numbers(talk)?;
    lists(talk)?;
    texts(talk)?;
    xids(talk)?;
    alone(talk)?;
    unknown(talk)
}

/// A body that is right, for each opcode that has one.
fn whole(op: i32, at: &str) -> Vec<u8> {
    let texts = |count: usize| (0..count).fold(Body::new().long(0), |body, _| body.texts(&[at])).0;
    match op {
        1 | 15 | 19 => create(at, b"x", if op == 19 { 4 } else { 0 }),
        21 => Body::new().raw(&create(at, b"x", 5)).long(100_000).0,
        2 | 13 => path_version(at, -1),
        5 => set(at, Some(b"x"), -1),
        7 => set_acl(at, OPEN, -1),
        3 | 4 | 8 | 12 => watch(at, false),
        14 => multi(&[(13, path_version(at, -1)), (1, create(at, b"", 2))]),
        16 => Body::new().buffer(None).buffer(None).text(at).long(-1).0,
        17 | 18 => Body::new().text(at).int(3).0,
        22 => multi(&[(4, watch(at, false)), (8, watch(at, false))]),
        100 => auth("digest", b"u:p"),
        101 => texts(3),
        105 => texts(5),
        106 => Body::new().text(at).int(0).0,
        11 | 107 => Vec::new(),
        _ => path(at),
    }
}

/// Everything that a client may ask for, but for closeSession and sasl.
const OPS: [i32; 27] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 100, 101, 103, 104, 105, 106, 107];

fn paths(talk: &mut Talk) -> Result<()> {
    talk.part("every operation with every path");
    for op in OPS {
        for at in PATHS {
            talk.outcome("t", 1, op, &whole(op, at))?;
        }
    }
    Ok(())
}

fn cut_and_longer(talk: &mut Talk) -> Result<()> {
    talk.part("every body cut off at every byte, and with more behind it");
    for op in OPS {
        let whole = whole(op, "/t");
        for end in 0..whole.len() {
            talk.outcome("t", 1, op, &whole[..end])?;
        }
        talk.outcome("t", 1, op, &[&whole[..], &[0; 9]].concat())?;
        talk.outcome("t", 1, op, &[&whole[..], &[255; 9]].concat())?;
    }
    Ok(())
}

fn numbers(talk: &mut Talk) -> Result<()> {
    const ODD: [i32; 12] = [-2, i32::MIN, i32::MAX, 1, 2, 3, 4, 5, 6, 7, 100, 255];
    talk.part("numbers out of range");
    for number in ODD {
        for op in [2, 17, 18, 106, 6, 9, 103, 104, 20] {
            talk.outcome("t", 1, op, &Body::new().text("/t/child").int(number).0)?;
        }
        for op in [3, 4, 8, 12] {
            talk.outcome("t", 1, op, &Body::new().text("/t").byte(number as u8).0)?;
        }
        talk.outcome("t", 1, 5, &set("/t", None, number))?;
        talk.outcome("t", 1, 7, &set_acl("/t", OPEN, number))?;
        for op in [1, 15, 19] {
            talk.outcome("t", 1, op, &create("/t/flags", b"", number))?;
            talk.outcome("t", 1, 2, &path_version("/t/flags", -1))?;
        }
        for ttl in [0, 1, 0xff_ffff_ffff, 0x100_0000_0000, i64::MAX] {
            talk.outcome("t", 1, 21, &Body::new().raw(&create("/t/flags", b"", number)).long(ttl).0)?;
        }
        for op in [1, 15, 19, 21] {
            let body = create("/t/in-multi", b"", number);
            let body = if op == 21 { Body::new().raw(&body).long(-1).0 } else { body };
            talk.outcome("t", 1, 14, &multi(&[(op, body)]))?;
            talk.outcome("t", 1, 2, &path_version("/t/in-multi", -1))?;
        }
        talk.outcome("t", 1, 14, &multi(&[(number, path("/t"))]))?;
        talk.outcome("t", 1, 22, &multi(&[(number, watch("/t", false))]))?;
        for ttl in [-1, -2, 0, i64::MIN] {
            talk.outcome("t", 1, 21, &Body::new().raw(&create("/t/flags", b"", 5)).long(ttl).0)?;
        }
    }
    talk.part("kinds that a multi can't have");
    for op in [0, 3, 4, 6, 7, 8, 9, 11, 12, 14, 16, 20, 22, 100, 107, -11, -10, -1] {
        talk.outcome("t", 1, 14, &multi(&[(op, whole(op, "/t"))]))?;
        talk.outcome("t", 1, 22, &multi(&[(op, whole(op, "/t"))]))?;
    }
    talk.part("ends of a multi");
    for (done, err) in [(0, -1), (1, 0), (1, 7), (2, -1), (255, -1)] {
        let end = Body::new().int(-1).byte(done).int(err).0;
        let end_of_another_kind = Body::new().int(5).byte(done).int(err).0;
        for op in [14, 22] {
            talk.outcome("t", 1, op, &end)?;
            talk.outcome("t", 1, op, &end_of_another_kind)?;
            talk.outcome("t", 1, op, &[&end[..], &end].concat())?;
        }
    }
    Ok(())
}

fn lists(talk: &mut Talk) -> Result<()> {
    talk.part("null and empty strings, buffers and lists");
    for length in [-1, 0, -2, i32::MIN] {
        // addWatch with a null path is in `deviations`.
        for op in OPS.into_iter().filter(|&op| op != 106 || length != -1) {
            talk.outcome("t", 1, op, &Body::new().int(length).raw(&[0; 24]).0)?;
        }
        // An ACL whose list, scheme or id is null, empty or worse.
        let head = |at: &str| Body::new().text(at).buffer(None);
        for at in ["/t/list", "/unknown/list"] {
            talk.outcome("t", 1, 1, &head(at).int(length).int(0).0)?;
            talk.outcome("t", 1, 1, &head(at).int(1).int(31).int(length).text("anyone").int(0).0)?;
            // A null id of another scheme is in `deviations`.
            for scheme in ["world", "digest", "ip", "auth"].into_iter().filter(|&it| it == "auth" || length != -1) {
                talk.outcome("t", 1, 1, &head(at).int(1).int(31).text(scheme).int(length).int(0).0)?;
            }
            talk.outcome("t", 1, 1, &head(at).int(1).int(length).text("world").text("anyone").int(0).0)?;
            talk.outcome("t", 1, 2, &path_version(at, -1))?;
        }
        talk.outcome("t", 1, 7, &Body::new().text("/t").int(length).int(-1).0)?;
        for (op, count) in [(101, 3), (105, 5)] {
            for at in 0..count {
                let of_length = |list: i32| if list == at { length } else { 0 };
                let body = (0..count).fold(Body::new().long(0), |body, list| body.int(of_length(list)));
                talk.outcome("t", 1, op, &body.0)?;
                // A list that has a null path in it.
                let body = (0..count).fold(Body::new().long(i64::MAX), |body, list| {
                    if list == at { body.int(1).int(length) } else { body.int(0) }
                });
                talk.outcome("t", 1, op, &body.0)?;
            }
        }
        // The others may find the null paths that Apache has kept of a setWatches2.
        for kind in 1..=2 {
            talk.outcome("t", 1, 17, &Body::new().int(length).int(kind).0)?;
            talk.outcome("t", 1, 18, &Body::new().int(length).int(kind).0)?;
        }
        talk.outcome("t", 1, 14, &multi(&[(13, Body::new().int(length).int(-1).0)]))?;
        talk.outcome("t", 1, 14, &multi(&[(2, Body::new().int(length).int(-1).0)]))?;
        talk.outcome("t", 1, 14, &multi(&[(5, Body::new().int(length).int(-1).int(-1).0)]))?;
        // A multiRead with a null path is in `deviations`.
        for op in [4, 8].into_iter().filter(|_| length != -1) {
            talk.outcome("t", 1, 22, &multi(&[(op, Body::new().int(length).byte(0).0)]))?;
        }
    }
    Ok(())
}

/// Strings that are no UTF-8: what is put in place of the bytes is sent back. Four bytes for a character are in `deviations`.
fn texts(talk: &mut Talk) -> Result<()> {
    talk.part("strings that are no UTF-8");
    let broken: [&[u8]; 18] = [
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xed\xa0",
        b"\xed\xa0x",
        b"\xed\xb0\xed",
        b"\xed\xc0\x80",
        b"\xed",
        b"\xc0\x80",
        b"\xc1x",
        b"\xe0\x80\x80",
        b"\xe2\x82",
        b"\xe2\x82x",
        b"\xf0\x80\x80\x80",
        b"\xf0\x9f\x98",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\x80\xff",
    ];
    for bytes in broken {
        let at = [b"/", bytes].concat();
        talk.outcome("t", 1, 9, &Body::new().buffer(Some(&at)).0)?;
        talk.outcome("t", 1, 101, &Body::new().long(0).int(1).buffer(Some(&at)).int(0).int(0).0)?;
        talk.outcome("t", 1, 20, &Body::new().buffer(Some(&at)).0)?;
        talk.outcome("t", 1, 2, &Body::new().buffer(Some(&at)).int(-1).0)?;
        let id = [bytes, b":x"].concat();
        let acl = Body::new().int(1).int(31).text("digest").buffer(Some(&id)).0;
        talk.outcome("t", 1, 1, &Body::new().text("/t/text").buffer(None).raw(&acl).int(0).0)?;
        talk.outcome("t", 1, 2, &path_version("/t/text", -1))?;
        talk.outcome("t", 1, 100, &Body::new().int(0).text("digest").buffer(Some(&id)).0)?;
    }
    talk.outcome("t", 1, 3, &watch("/t/text", false))
}

fn xids(talk: &mut Talk) -> Result<()> {
    talk.part("every operation with the xids that mean something");
    for op in OPS {
        for xid in XIDS {
            talk.outcome("t", xid, op, &whole(op, "/t"))?;
        }
    }
    Ok(())
}

fn alone(talk: &mut Talk) -> Result<()> {
    talk.part("what a server alone does not do, and what is not for clients");
    for body in [
        Body::new().buffer(None).buffer(None).text("server.1=h:1:2").long(-1).0,
        Body::new().text("server.2=h:1:2:participant;3").buffer(None).buffer(None).long(5).0,
        Body::new().buffer(None).text("1").buffer(None).long(0).0,
        Vec::new(),
    ] {
        talk.outcome("t", 1, 16, &body)?;
    }
    for at in ["/t/ephemeral", "/t", "/", "/zookeeper", "/zookeeper/quota", "/none/x", "relative", "/t/\0", ""] {
        talk.outcome("t", 1, 20, &path(at))?;
    }
    // Any empty znode goes, whoever asks, and whatever its list says.
    talk.outcome("t", 1, 1, &Body::new().text("/t/closed").buffer(None).acl(&[(1, "world", "anyone")]).int(0).0)?;
    talk.outcome("t", 1, 20, &path("/t/closed"))?;
    talk.outcome("t", 1, 3, &watch("/t/closed", false))
}

fn unknown(talk: &mut Talk) -> Result<()> {
    talk.part("operations that there are not");
    let known = |op: &i32| OPS.contains(op) || [102, -11, -10, 71].contains(op);
    for op in (-20..130).chain([1000, i32::MIN, i32::MAX]).filter(|op| !known(op)) {
        talk.outcome("t", 7, op, &path("/t"))?;
        talk.outcome("t", -2, op, &[])?;
    }
    Ok(())
}
