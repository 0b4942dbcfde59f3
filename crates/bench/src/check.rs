//! Judges replies: whatever a server answers that it should not is an error in the report.

use crate::template::{DIGITS, Kind, digits};
use crate::work::Expected;

/// The bytes of a reply header: xid, zxid, error code.
pub(crate) const HEADER: usize = 16;
/// The bytes of a Stat.
const STAT: usize = 68;
/// Where a Stat has the version, the length of the data, the number of children.
const VERSION: usize = 32;
const DATA_LENGTH: usize = 52;
const NUM_CHILDREN: usize = 56;

/// What is the same for all replies of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Bytes of data in a znode.
    pub(crate) payload: usize,
    /// Znodes in the working set.
    pub(crate) znodes: u32,
}

/// A reply's error code, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server refused, with this code.
    Refused(i32),
    /// The reply is not what it should be.
    Wrong(&'static str),
}

/// The xid of a reply.
pub(crate) fn xid(frame: &[u8]) -> Option<i32> {
    int(frame, 0)
}

/// Looks at the error code and the body of a reply.
#[inline]
pub(crate) fn reply(frame: &[u8], expected: &Expected, shape: Shape) -> Result<(), Fault> {
    let Some((header, body)) = frame.split_at_checked(HEADER) else {
        return Err(Fault::Wrong("a reply shorter than its header"));
    };
    match int(header, 12) {
        Some(0) => {}
        code => return Err(Fault::Refused(code.unwrap_or(0))),
    }
    match expected.kind {
        Kind::Create => created(body, expected),
        Kind::Delete if body.is_empty() => Ok(()),
        Kind::Delete => Err(Fault::Wrong("a reply to delete with a body")),
        Kind::Set | Kind::Exists => stat(body, expected, shape),
        Kind::Get => data(body, expected, shape),
        Kind::Children => children(body, shape),
    }
}

fn created(body: &[u8], expected: &Expected) -> Result<(), Fault> {
    let fits = length(body) == Some(body.len().wrapping_sub(4)) && body.ends_with(&digits(expected.number));
    if fits { Ok(()) } else { Err(Fault::Wrong("a reply to create with another path")) }
}

fn stat(stat: &[u8], expected: &Expected, shape: Shape) -> Result<(), Fault> {
    if stat.len() != STAT {
        return Err(Fault::Wrong("a reply whose Stat has another length"));
    }
    if int(stat, DATA_LENGTH) != Some(shape.payload as i32) {
        return Err(Fault::Wrong("a Stat with another dataLength"));
    }
    match (int(stat, VERSION), expected.version) {
        (_, None) => Ok(()),
        (version, expected) if version == expected => Ok(()),
        _ => Err(Fault::Wrong("a Stat with another version than this session's own writes make it")),
    }
}

fn data(body: &[u8], expected: &Expected, shape: Shape) -> Result<(), Fault> {
    let Some((data, rest)) = body.get(4..).and_then(|it| it.split_at_checked(shape.payload)) else {
        return Err(Fault::Wrong("a reply to getData that is too short"));
    };
    if length(body) != Some(shape.payload) {
        return Err(Fault::Wrong("data of another length"));
    }
    stat(rest, expected, shape)?;
    let stamp = expected.version.map(|it| it as u8);
    let fits = |stamped: u8| stamp.is_none_or(|it| it == stamped);
    match data {
        [] => Ok(()),
        [only] if fits(!only) => Ok(()),
        [first, .., last] if fits(*first) && *last == !first => Ok(()),
        _ => Err(Fault::Wrong("data that is not what was written")),
    }
}

fn children(body: &[u8], shape: Shape) -> Result<(), Fault> {
    let znodes = shape.znodes as usize;
    let names = znodes * (4 + DIGITS);
    let fits = length(body) == Some(znodes)
        && body.len() == 4 + names + STAT
        && int(&body[4 + names..], NUM_CHILDREN) == Some(shape.znodes as i32);
    if fits { Ok(()) } else { Err(Fault::Wrong("another number of children")) }
}

fn length(body: &[u8]) -> Option<usize> {
    int(body, 0).and_then(|it| usize::try_from(it).ok())
}

#[inline]
fn int(bytes: &[u8], at: usize) -> Option<i32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(i32::from_be_bytes(*field))
}

#[cfg(test)]
mod tests {
    use wire::jute::Field;
    use wire::response::GetDataResponse;
    use wire::stat::Stat;

    use super::*;

    const SHAPE: Shape = Shape { payload: 3, znodes: 2 };

    fn get_reply(data: &[u8], version: i32) -> Vec<u8> {
        let mut frame = vec![0; HEADER];
        let stat = Stat { version, data_length: data.len() as i32, ..Stat::default() };
        GetDataResponse { data: Some(data), stat }.write(&mut frame);
        frame
    }

    fn judged(frame: &[u8], version: Option<i32>) -> Result<(), Fault> {
        reply(frame, &Expected { kind: Kind::Get, number: 0, version }, SHAPE)
    }

    #[test]
    fn what_was_written_is_right() {
        assert_eq!(judged(&get_reply(&[7, 1, !7], 7), Some(7)), Ok(()));
        assert_eq!(judged(&get_reply(&[0, 1, !0], 9), None), Ok(()));
    }

    #[test]
    fn anything_else_is_wrong() {
        assert!(judged(&get_reply(&[6, 1, !7], 7), Some(7)).is_err());
        assert!(judged(&get_reply(&[7, 1, !7], 8), Some(7)).is_err());
        assert!(judged(&get_reply(&[7, !7], 7), Some(7)).is_err());
        assert!(judged(&get_reply(&[7, 1, !7], 7)[..50], Some(7)).is_err());
        assert_eq!(judged(&[0; 3], None), Err(Fault::Wrong("a reply shorter than its header")));
        let mut refused = vec![0; HEADER];
        refused[12..].copy_from_slice(&(-101_i32).to_be_bytes());
        assert_eq!(judged(&refused, None), Err(Fault::Refused(-101)));
    }
}
