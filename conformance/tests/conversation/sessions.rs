//! Handshakes, and how sessions go on and end.

use anyhow::Result;
use ostler_conformance::raw::ConnectRequest;
use ostler_conformance::script::{Body, Talk, create, set, watch};

pub fn run(talk: &mut Talk) -> Result<()> {
    handshakes(talk)?;
    renewal(talk)?;
    hostile_renewals(talk)?;
    taken_by_turns(talk)?;
    pipelined_handshake(talk)?;
    behind_a_write(talk)?;
    expiry(talk)
}

fn handshakes(talk: &mut Talk) -> Result<()> {
    talk.part("handshakes");
    let new = ConnectRequest::default;
    let requests = [
        new(),
        ConnectRequest { read_only: None, ..new() },
        ConnectRequest { read_only: Some(true), ..new() },
        ConnectRequest { password: None, ..new() },
        ConnectRequest { password: Some(Vec::new()), ..new() },
        ConnectRequest { password: Some(vec![9; 40]), read_only: None, ..new() },
        ConnectRequest { timeout_ms: 0, ..new() },
        ConnectRequest { timeout_ms: -5, ..new() },
        ConnectRequest { timeout_ms: i32::MAX, ..new() },
        ConnectRequest { timeout_ms: 1234, ..new() },
        ConnectRequest { protocol_version: 7, ..new() },
        ConnectRequest { last_zxid_seen: 1, ..new() },
    ];
    for request in requests {
        talk.connect_with("h", &request)?;
        talk.call("h", 3, &watch("/", false))?;
        talk.close("h")?;
    }
    for request in [
        ConnectRequest { last_zxid_seen: i64::MAX, ..new() },
        ConnectRequest { session_id: 7, ..new() },
        ConnectRequest { session_id: 7, read_only: None, ..new() },
        ConnectRequest { session_id: 7, password: None, ..new() },
        ConnectRequest { session_id: -7, password: Some(vec![1; 3]), ..new() },
    ] {
        talk.connect_with("h", &request)?;
    }
    // Right for this id, but there is no such session.
    let password = vec![0x05, 0x4c, 0xc7, 0x4a, 0x37, 0x32, 0x7d, 0xb2, 0x15, 0xe7, 0x02, 0xe2, 0x0c, 0x73, 0xf0, 0x05];
    talk.connect_with("h", &ConnectRequest { session_id: 0x100000000000001, password: Some(password), ..new() })?;
    talk.until_closed("h")
}

/// What continues the session of `name`.
fn renew(talk: &Talk, name: &str) -> Result<ConnectRequest> {
    let granted = talk.granted(name)?;
    Ok(ConnectRequest { session_id: granted.session_id, password: Some(granted.password), ..ConnectRequest::default() })
}

fn renewal(talk: &mut Talk) -> Result<()> {
    talk.part("renewal");
    talk.connect("a")?;
    talk.connect("x")?;
    talk.call("a", 1, &create("/mine", b"", 1))?;
    talk.call("x", 3, &watch("/mine", true))?;
    let right = renew(talk, "a")?;
    let wrong = ConnectRequest { password: Some(vec![3; 16]), ..right.clone() };
    talk.call("a", 4, &watch("/mine", true))?;
    talk.hang_up("a");
    talk.connect_with("a", &wrong)?;
    talk.until_closed("a")?;
    talk.connect_with("a", &ConnectRequest { timeout_ms: 5000, ..right.clone() })?;
    talk.call("a", 103, &Body::new().text("/").0)?;
    // Watches went with the connection, identities too.
    talk.call("x", 5, &set("/mine", Some(b"by x"), -1))?;
    talk.ping("a")?;
    talk.call("a", 107, &[])?;
    talk.part("a session that moves while its connection lives");
    talk.connect_with("b", &ConnectRequest { read_only: None, ..right.clone() })?;
    talk.until_closed("a")?;
    talk.call("b", 1, &create("/mine2", b"", 1))?;
    talk.call("b", 103, &Body::new().text("/").0)?;
    talk.call("x", 3, &watch("/mine", true))?;
    talk.close("b")?;
    talk.ping("x")?;
    talk.call("x", 3, &watch("/mine2", false))?;
    talk.connect_with("a", &right)?;
    talk.until_closed("a")?;
    talk.close("x")
}

/// Ids and passwords that nobody was given. The session that they aim at lives on; its own connection is another case,
/// since Apache closes it before it looks at the password.
fn hostile_renewals(talk: &mut Talk) -> Result<()> {
    talk.part("hostile renewals");
    talk.connect("v")?;
    talk.call("v", 1, &create("/victim", b"", 1))?;
    let right = renew(talk, "v")?;
    let id = right.session_id;
    let password = right.password.clone().unwrap_or_default();
    talk.hang_up("v");
    let ids = [-1, 1, i64::MIN, i64::MIN + 1, i64::MAX, id + 1, id - 1, id ^ (1 << 56), id | (0xff << 56), !id];
    for session_id in ids {
        talk.connect_with("h", &ConnectRequest { session_id, ..right.clone() })?;
    }
    let with = |password: Option<Vec<u8>>| ConnectRequest { password, ..right.clone() };
    let mut flipped = password.clone();
    flipped[15] ^= 1;
    let longer = [&password[..], &[0]].concat();
    for wrong in [None, Some(Vec::new()), Some(password[..15].to_vec()), Some(longer), Some(flipped), Some(vec![0; 16])]
    {
        talk.connect_with("h", &with(wrong))?;
    }
    // Bodies that are cut off or longer than they need be; a length that lies.
    let whole = right.encode();
    for end in [0, 1, 20, 28, 32, 43] {
        talk.connect_with_bytes("h", &whole[..end])?;
    }
    for length in [-2, i32::MIN, i32::MAX, 17, 1000] {
        talk.connect_with_bytes("h", &[&whole[..24], &i32::to_be_bytes(length), &whole[28..]].concat())?;
    }
    talk.connect_with("v", &right)?;
    talk.call("v", 103, &Body::new().text("/").0)?;
    talk.close("v")
}

/// Two clients that both think that the session is theirs.
fn taken_by_turns(talk: &mut Talk) -> Result<()> {
    talk.part("a session taken by turns");
    talk.connect("a")?;
    let right = renew(talk, "a")?;
    for round in 0..20 {
        let (one, other) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        talk.connect_with(other, &right)?;
        talk.until_closed(one)?;
        talk.call(other, 1, &create(&format!("/turn{round}"), b"", 1))?;
    }
    talk.call("a", 103, &Body::new().text("/turn").0)?;
    talk.close("a")
}

fn pipelined_handshake(talk: &mut Talk) -> Result<()> {
    talk.part("requests right behind the handshake");
    talk.connect("p")?;
    let mut bytes = Vec::new();
    for (xid, path) in [(1, "/"), (2, "/none")] {
        let body = Body::new().int(xid).int(3).raw(&watch(path, false)).0;
        bytes.extend(Body::new().buffer(Some(&body)).0);
    }
    talk.send_bytes("p", &bytes)?;
    talk.read("p", 2)?;
    talk.close("p")
}

fn behind_a_write(talk: &mut Talk) -> Result<()> {
    talk.part("closeSession right behind a write");
    talk.connect("a")?;
    talk.connect("x")?;
    talk.call("a", 1, &create("/gone", b"", 1))?;
    talk.call("x", 3, &watch("/gone", true))?;
    talk.call("x", 8, &watch("/", true))?;
    let frame = |xid: i32, op: i32, body: &[u8]| Body::new().buffer(Some(&Body::new().int(xid).int(op).raw(body).0)).0;
    // Requests behind it are in `deviations`: whether Apache answers them is a matter of timing.
    let bytes = [frame(50, 5, &set("/gone", Some(b"1"), -1)), frame(51, -11, &[])].concat();
    talk.send_bytes("a", &bytes)?;
    talk.until_closed("a")?;
    talk.ping("x")?;
    talk.close("x")
}

fn expiry(talk: &mut Talk) -> Result<()> {
    talk.part("expiry");
    talk.connect("x")?;
    let short = ConnectRequest { timeout_ms: 1, ..ConnectRequest::default() };
    talk.connect_with("s", &short)?;
    talk.call("s", 1, &create("/short", b"", 1))?;
    talk.call("x", 3, &watch("/short", true))?;
    talk.call("x", 8, &watch("/", true))?;
    let again = renew(talk, "s")?;
    // No ping: the session runs out of time, its connection is closed, its ephemeral is deleted.
    talk.until_closed("s")?;
    talk.read("x", 2)?;
    talk.ping("x")?;
    talk.connect_with("s", &again)?;
    talk.until_closed("s")?;
    talk.part("expiry of a session without a connection");
    talk.connect_with("s", &short)?;
    talk.call("s", 1, &create("/short", b"", 1))?;
    talk.call("x", 3, &watch("/short", true))?;
    talk.hang_up("s");
    talk.read("x", 1)?;
    talk.call("x", 3, &watch("/short", false))?;
    talk.close("x")
}
