//! create, delete, setData: each kind, each refusal.

use anyhow::Result;
use ostler_conformance::script::{Body, OPEN, Talk, create, create_acl, multi, path, path_version, set, watch};

/// Opcodes.
const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const CHILDREN2: i32 = 12;
const CREATE2: i32 = 15;
const CREATE_CONTAINER: i32 = 19;
const DELETE_CONTAINER: i32 = 20;
const CREATE_TTL: i32 = 21;

pub fn run(talk: &mut Talk) -> Result<()> {
    talk.connect("a")?;
    creates(talk)?;
    bad_creates(talk)?;
    sequential(talk)?;
    sets_and_deletes(talk)?;
    containers_and_ttl(talk)?;
    talk.close("a")
}

fn creates(talk: &mut Talk) -> Result<()> {
    talk.part("create");
    for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        talk.call("a", EXISTS, &watch(path, false))?;
        talk.call("a", GET_DATA, &watch(path, false))?;
        talk.call("a", CHILDREN2, &watch(path, false))?;
    }
    talk.call("a", CREATE, &create("/w", b"data", 0))?;
    talk.call("a", CREATE, &create("/w", b"again", 0))?;
    talk.call("a", CREATE2, &create("/w/two", b"", 0))?;
    talk.call("a", CREATE, &create_acl("/w/null", None, OPEN, 0))?;
    talk.call("a", CREATE2, &create("/w/e", b"mine", 1))?;
    talk.call("a", CREATE, &create("/w/e/below", b"", 0))?;
    talk.call("a", CREATE, &create("/w/e", b"", 0))?;
    talk.call("a", CREATE2, &create("/w/e", b"", 1))?;
    talk.call("a", CREATE, &create("/nobody/home", b"", 0))?;
    for path in ["/", "/w", "/w/two", "/w/null", "/w/e"] {
        talk.call("a", GET_DATA, &watch(path, false))?;
        talk.call("a", CHILDREN2, &watch(path, false))?;
    }
    let big = vec![7; 300_000];
    talk.call("a", CREATE2, &create("/w/big", &big, 0))?;
    talk.call("a", GET_DATA, &watch("/w/big", false))?;
    talk.call("a", CREATE2, &create("/w/\u{e4}\u{20ac}", "gr\u{fc}n".as_bytes(), 0))?;
    talk.call("a", CHILDREN2, &watch("/w", false))?;
    Ok(())
}

fn bad_creates(talk: &mut Talk) -> Result<()> {
    talk.part("create: paths and flags that are refused");
    let paths = [
        "",
        "x",
        "/w/",
        "//",
        "/w//x",
        "/.",
        "/..",
        "/w/.",
        "/w/..",
        "/w/./x",
        "/w/../x",
        "/w/a\0b",
        "/w/a\u{1}b",
        "/w/a\u{1f}b",
        "/w/a\u{7f}b",
        "/w/a\u{9f}b",
        "/w/a\u{a0}b",
        "/w/\u{e000}",
        "/w/\u{f8ff}",
        "/w/\u{f900}",
        "/w/\u{ffef}",
        "/w/\u{fff0}",
        "/w/\u{ffff}",
        "/w/\u{1f600}",
        "/w/...",
        "/w/.a",
        "/w/a.",
        "/w/..a",
        "/w/ ",
        "/zookeeper",
        "/zookeeper/x",
        "/missing/\u{1}",
        "/",
    ];
    for path in paths {
        talk.call("a", CREATE2, &create(path, b"", 0))?;
        talk.call("a", EXISTS, &watch(path, false))?;
        talk.call("a", SET_DATA, &set(path, Some(b""), -1))?;
        if !path.starts_with("/zookeeper") && path != "/" {
            talk.call("a", DELETE, &path_version(path, -1))?;
        }
    }
    for flags in [-1, 4, 5, 6, 7, 100, i32::MIN, i32::MAX] {
        talk.call("a", CREATE, &create("/w/flags", b"", flags))?;
        talk.call("a", CREATE2, &create("/w/flags2", b"", flags))?;
        talk.call("a", DELETE, &path_version("/w/flags", -1))?;
        talk.call("a", DELETE, &path_version("/w/flags2", -1))?;
    }
    // Broken UTF-8 becomes U+FFFD, which no path may hold; in data it is data.
    talk.call("a", CREATE, &Body::new().int(4).raw(b"/w/\xff").buffer(Some(b"\xff")).acl(OPEN).int(0).0)?;
    talk.call("a", EXISTS, &Body::new().int(4).raw(b"/w/\xff").byte(0).0)?;
    Ok(())
}

fn sequential(talk: &mut Talk) -> Result<()> {
    talk.part("sequential");
    talk.call("a", CREATE, &create("/q", b"", 0))?;
    talk.call("a", CREATE, &create("/q/n-", b"", 2))?;
    talk.call("a", CREATE2, &create("/q/e-", b"", 3))?;
    talk.call("a", CREATE, &create("/q/plain", b"", 0))?;
    talk.call("a", DELETE, &path_version("/q/plain", -1))?;
    talk.call("a", CREATE, &create("/q/", b"", 2))?;
    talk.call("a", CREATE, &create("/q//", b"", 2))?;
    talk.call("a", CREATE, &create("/top-", b"", 2))?;
    talk.part("sequential, pipelined");
    let mut last = 0;
    for i in 0..40 {
        last = match i % 4 {
            0 => talk.send("a", CREATE, &create("/q/p-", b"", 2))?,
            1 => talk.send("a", CREATE2, &create("/q/p-", b"", 3))?,
            2 => talk.send("a", CHILDREN2, &watch("/nothing", false))?,
            _ => talk.send("a", EXISTS, &watch("/q", false))?,
        };
    }
    talk.until("a", last, EXISTS)?;
    talk.call("a", CHILDREN2, &watch("/q", false))?;
    talk.part("writes and reads, pipelined");
    for i in 0..30 {
        talk.send("a", SET_DATA, &set("/q", Some(&[i]), i32::from(i)))?;
        last = talk.send("a", GET_DATA, &watch("/q", false))?;
    }
    talk.until("a", last, GET_DATA)?;
    Ok(())
}

fn sets_and_deletes(talk: &mut Talk) -> Result<()> {
    talk.part("setData and delete");
    talk.call("a", CREATE, &create("/s", b"0", 0))?;
    for (data, version) in [
        (Some(&b"1"[..]), 0),
        (Some(b"2"), 0),
        (Some(b"3"), 1),
        (None, 2),
        (Some(b""), -1),
        (Some(b"x"), -2),
        (Some(b"x"), 9),
    ] {
        talk.call("a", SET_DATA, &set("/s", data, version))?;
        talk.call("a", GET_DATA, &watch("/s", false))?;
    }
    talk.call("a", SET_DATA, &set("/", Some(b"root"), -1))?;
    talk.call("a", GET_DATA, &watch("/", false))?;
    talk.call("a", SET_DATA, &set("/s/none", Some(b""), -1))?;
    talk.call("a", SET_DATA, &set("/zookeeper/config", Some(b"x"), -1))?;
    talk.call("a", CREATE, &create("/s/child", b"", 0))?;
    talk.call("a", DELETE, &path_version("/s", 99))?;
    talk.call("a", DELETE, &path_version("/s", 4))?;
    talk.call("a", DELETE, &path_version("/s", -1))?;
    talk.call("a", DELETE, &path_version("/s/child", 1))?;
    talk.call("a", DELETE, &path_version("/s/child/none", -1))?;
    talk.call("a", DELETE, &path_version("/s/child/", -1))?;
    talk.call("a", EXISTS, &watch("/s", false))?;
    talk.call("a", DELETE, &path_version("/s/child", 0))?;
    talk.call("a", EXISTS, &watch("/s", false))?;
    talk.call("a", DELETE, &path_version("/s/child", -1))?;
    for system in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "", "s", "/zookeeper/none"] {
        talk.call("a", DELETE, &path_version(system, -1))?;
    }
    talk.call("a", DELETE, &path_version("/s", -1))?;
    talk.call("a", EXISTS, &watch("/", false))?;
    Ok(())
}

fn ttl_body(path: &str, flags: i32, ttl: i64) -> Vec<u8> {
    Body::new().raw(&create(path, b"", flags)).long(ttl).0
}

fn containers_and_ttl(talk: &mut Talk) -> Result<()> {
    talk.part("containers; TTL is off");
    talk.call("a", CREATE_CONTAINER, &create("/c", b"", 4))?;
    talk.call("a", EXISTS, &watch("/c", false))?;
    talk.call("a", CREATE_CONTAINER, &create("/c/c", b"", 0))?;
    talk.call("a", CREATE_CONTAINER, &create("/c/bad", b"", 9))?;
    talk.call("a", CREATE, &create("/c/below", b"", 0))?;
    talk.call("a", DELETE_CONTAINER, &path("/c"))?;
    talk.call("a", DELETE_CONTAINER, &path("/c/c"))?;
    talk.call("a", CREATE, &create("/c/e", b"", 1))?;
    talk.call("a", DELETE_CONTAINER, &path("/c/e"))?;
    talk.call("a", DELETE, &path_version("/c/e", -1))?;
    talk.call("a", DELETE_CONTAINER, &path("/c/below"))?;
    talk.call("a", DELETE_CONTAINER, &path("/c"))?;
    talk.call("a", DELETE_CONTAINER, &path("/c"))?;
    talk.call("a", DELETE_CONTAINER, &path("/zookeeper"))?;
    for (flags, ttl) in [(5, 1000), (6, 1000), (5, 0), (5, -1), (0, 1000), (4, 1)] {
        talk.call("a", CREATE_TTL, &ttl_body("/ttl", flags, ttl))?;
    }
    talk.call("a", EXISTS, &watch("/ttl", false))?;
    ttl_in_multis(talk)
}

/// Against servers that know TTL znodes.
pub fn ttl(talk: &mut Talk) -> Result<()> {
    talk.part("TTL");
    talk.connect("a")?;
    let longest = 0xff_ffff_ffff;
    for (at, (flags, ttl)) in
        [(5, 100_000), (6, 100_000), (5, 0), (5, -1), (5, longest), (5, longest + 1), (6, i64::MIN), (0, 1000), (9, 1)]
            .into_iter()
            .enumerate()
    {
        let path = format!("/ttl{at}-");
        talk.call("a", CREATE_TTL, &ttl_body(&path, flags, ttl))?;
        talk.call("a", GET_DATA, &watch(&path, false))?;
    }
    talk.call("a", CREATE, &create("/ttl0-/child", b"", 0))?;
    talk.call("a", CREATE, &create("/plain", b"", 5))?;
    talk.call("a", CREATE2, &create("/plain", b"", 6))?;
    ttl_in_multis(talk)?;
    talk.call("a", CHILDREN2, &watch("/", false))?;
    talk.close("a")
}

/// In a multi the flags of a create have rules of their own.
pub fn ttl_in_multis(talk: &mut Talk) -> Result<()> {
    talk.part("create flags in multis");
    for flags in 0..=7 {
        for op in [CREATE, CREATE2, CREATE_CONTAINER] {
            let target = format!("/multi{op}-{flags}-");
            talk.call("a", 14, &multi(&[(op, create(&target, b"", flags))]))?;
            talk.call("a", EXISTS, &watch(&target, false))?;
        }
        for ttl in [0, 1, 100_000] {
            let target = format!("/multi-ttl{ttl}-{flags}-");
            talk.call("a", 14, &multi(&[(CREATE_TTL, ttl_body(&target, flags, ttl))]))?;
            talk.call("a", EXISTS, &watch(&target, false))?;
        }
    }
    Ok(())
}
