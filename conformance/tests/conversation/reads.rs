//! exists, getData, getChildren, sync, counts, multiRead, whoAmI.

use anyhow::Result;
use ostler_conformance::script::{Body, Talk, create, create_acl, multi, path, watch};

pub fn run(talk: &mut Talk) -> Result<()> {
    talk.part("reads");
    talk.connect("a")?;
    talk.connect("b")?;
    talk.call("a", 1, &create("/r", b"root of reads", 0))?;
    for i in 0..5 {
        talk.call("a", 1, &create(&format!("/r/n{i}"), &[i], 0))?;
    }
    talk.call("a", 1, &create("/r/n1/deep", b"", 0))?;
    talk.call("a", 1, &create("/r/ea", b"", 1))?;
    talk.call("b", 1, &create("/r/eb", b"", 1))?;
    talk.call("b", 1, &create("/rr", b"", 1))?;
    let private = [(31, "digest", "nobody:x")];
    talk.call("a", 1, &create_acl("/r/private", Some(b"secret"), &private, 0))?;

    for target in ["/r", "/r/n1", "/r/none", "/r/private", "/", "", "r", "/r/", "//r"] {
        for op in [3, 4, 8, 12] {
            talk.call("b", op, &watch(target, false))?;
        }
        talk.call("b", 6, &path(target))?;
        talk.call("b", 104, &path(target))?;
        talk.call("b", 9, &path(target))?;
    }
    for target in ["/", "/w", "/q", "/zookeeper", "/r", "/top-0000000002", "/rr"] {
        talk.call("a", 104, &path(target))?;
        talk.call("a", 12, &watch(target, false))?;
    }
    talk.part("getEphemerals");
    for prefix in ["/r", "/r/", "/rr", "/", "", "  ", "r", "/none", "/\u{1}", " \t/\0", "\u{1f}", "\u{a0}", "\u{3000}/"]
    {
        talk.call("a", 103, &path(prefix))?;
        talk.call("b", 103, &path(prefix))?;
    }
    talk.call("b", 103, &Body::new().int(-1).0)?;
    talk.part("whoAmI and ping");
    talk.call("a", 107, &[])?;
    talk.ping("a")?;
    // The reply to a ping bears -2 whatever was asked; the next frame is the reply.
    talk.send_xid("a", 77, 11, &[])?;
    talk.read("a", 1)?;
    for xid in [0, -1, -4, i32::MIN, i32::MAX] {
        talk.send_xid("a", xid, 3, &watch("/r", false))?;
        talk.read("a", 1)?;
    }
    talk.part("multiRead");
    let ops = [
        (4, watch("/r", false)),
        (8, watch("/r/n1", false)),
        (4, watch("/r/none", true)),
        (4, watch("/r/private", false)),
        (8, watch("/r/n0", true)),
    ];
    for count in 0..=ops.len() {
        talk.call("b", 22, &multi(&ops[..count]))?;
    }
    talk.call("b", 22, &multi(&[(4, watch("/r", false)), (2, Body::new().text("/r/n0").int(-1).0)]))?;
    talk.call("b", 22, &multi(&[(12, watch("/r", false))]))?;
    talk.call("b", 22, &multi(&[(3, watch("/r", false))]))?;
    talk.call("b", 14, &multi(&[(4, watch("/r", false))]))?;
    // A watch asked for in a multiRead is none.
    talk.call("a", 5, &Body::new().text("/r").buffer(Some(b"new")).int(-1).0)?;
    talk.ping("b")?;
    reconfig(talk)?;
    talk.close("b")?;
    talk.call("a", 12, &watch("/r", false))?;
    talk.close("a")
}

/// How many [`reconfig`] asks for.
pub const RECONFIGS: usize = 5;

/// Reconfigs of a standalone server; the connection lives on.
pub fn reconfig(talk: &mut Talk) -> Result<()> {
    talk.part("reconfig of a standalone server");
    let member = "server.5=h:1:2;3";
    talk.call("a", 16, &Body::new().int(-1).int(-1).int(-1).long(-1).0)?;
    talk.call("a", 16, &Body::new().text(member).int(-1).int(-1).long(-1).0)?;
    talk.call("a", 16, &Body::new().int(-1).text("1").int(-1).long(7).0)?;
    talk.call("a", 16, &Body::new().int(-1).int(-1).text(member).long(-1).0)?;
    talk.call("a", 16, &Body::new().int(-1).int(-1).text("no member").long(-1).0)?;
    talk.call("a", 3, &watch("/zookeeper/config", false))?;
    Ok(())
}
