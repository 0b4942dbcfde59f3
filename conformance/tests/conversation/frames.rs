//! Frames and bodies that are wrong.

use anyhow::Result;
use ostler_conformance::script::{Body, OPEN, Talk, create, watch};

pub fn run(talk: &mut Talk) -> Result<()> {
    unknown_operations(talk)?;
    broken_frames(talk)?;
    malformed_reads(talk)
}

fn unknown_operations(talk: &mut Talk) -> Result<()> {
    talk.part("unknown operations");
    for op in [0, 10, 13, 23, 99, 108, 1000, -1, -2, i32::MIN, i32::MAX] {
        talk.connect("u")?;
        let session = talk.granted("u")?;
        talk.send("u", op, b"whatever")?;
        talk.until_closed("u")?;
        // The session lives on.
        let again = ostler_conformance::raw::ConnectRequest {
            session_id: session.session_id,
            password: Some(session.password),
            ..Default::default()
        };
        talk.connect_with("u", &again)?;
        talk.call("u", 3, &watch("/", false))?;
        talk.close("u")?;
    }
    talk.part("sasl without SASL");
    talk.connect("u")?;
    talk.call("u", 102, &Body::new().buffer(Some(b"")).0)?;
    talk.call("u", 102, &Body::new().buffer(Some(b"token")).0)?;
    talk.close("u")
}

fn broken_frames(talk: &mut Talk) -> Result<()> {
    talk.part("lengths and headers that end a connection");
    let bad: [&[u8]; 8] = [
        &[0xff, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0x00, 0x10, 0x00, 0x00],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
        &[0, 0, 0, 4, 0, 0, 0, 1],
        &[0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0],
        b"ruok",
    ];
    for bytes in bad {
        talk.connect("f")?;
        talk.send_bytes("f", bytes)?;
        talk.until_closed("f")?;
    }
    talk.part("the longest frame");
    talk.connect("f")?;
    let head = Body::new().text("/longest").0.len() + 4 + Body::new().acl(OPEN).0.len() + 4 + 8;
    let data = vec![1; 0xf_ffff - head];
    talk.call("f", 15, &create("/longest", &data, 0))?;
    // One byte more. The server does not read on, so only the beginning of it is sent.
    talk.send_bytes("f", &Body::new().int(0x10_0000).raw(&data[..100]).0)?;
    talk.until_closed("f")?;
    talk.part("first frames that are wrong");
    talk.connect("f")?;
    talk.call("f", 2, &Body::new().text("/longest").int(-1).0)?;
    talk.close("f")
}

fn malformed_reads(talk: &mut Talk) -> Result<()> {
    talk.part("reads that can't be read");
    talk.connect("m")?;
    for op in [3, 4, 6, 8, 9, 12, 17, 18, 22, 101, 103, 104, 105, 106] {
        for body in bodies() {
            // An empty multiRead that ends at once and a path that is null are other cases.
            talk.call("m", op, &body)?;
        }
    }
    talk.part("what stands behind a request is ignored");
    for op in [3, 4, 8, 12] {
        talk.call("m", op, &Body::new().raw(&watch("/", false)).raw(b"behind").0)?;
    }
    talk.call("m", 107, b"behind")?;
    talk.call("m", 3, &Body::new().text("/").byte(200).0)?;
    talk.close("m")
}

/// Cut off, too long, negative, null.
fn bodies() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![0; 3],
        Body::new().int(5).raw(b"/a").0,
        Body::new().int(-2).byte(0).0,
        Body::new().int(i32::MIN).byte(0).0,
        Body::new().int(i32::MAX).byte(0).0,
        Body::new().int(0x20_0000).byte(0).0,
        Body::new().int(-1).byte(0).0,
    ]
}

/// Writes that can't be read. Apache reuses the last zxid for the answer, Ostler takes a new one.
pub fn malformed_writes(talk: &mut Talk) -> Result<()> {
    talk.part("writes that can't be read");
    talk.connect("m")?;
    for op in [1, 2, 5, 7, 15, 16, 19, 20, 21] {
        for body in bodies() {
            talk.call("m", op, &body)?;
        }
        talk.ping("m")?;
    }
    talk.part("writes cut off field by field");
    let whole = create("/cut", b"data", 0);
    for end in 0..whole.len() {
        talk.call("m", 1, &whole[..end])?;
    }
    talk.part("vectors that promise more or less than they carry");
    for count in [-1, -2, i32::MIN, 2, 1000, i32::MAX] {
        let body = Body::new().text("/vector").buffer(None).int(count).int(31).text("world").text("anyone").int(0).0;
        talk.call("m", 1, &body)?;
    }
    talk.call("m", 1, &Body::new().text("/null").int(-1).acl(OPEN).int(0).0)?;
    talk.call("m", 1, &Body::new().text("/behind").int(-1).acl(OPEN).int(0).raw(b"behind").0)?;
    talk.close("m")
}
