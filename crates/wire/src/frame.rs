//! Frames: every message in both directions is a 32-bit length and that many bytes.
//!
//! The first frame each way is the handshake ([`crate::connect`]); all others begin with a [`RequestHeader`] or a
//! [`ReplyHeader`]. Source: Apache `NIOServerCnxn.readLength`, `ClientCnxn`.

use crate::error_code::ErrorCode;
use crate::ids::{Xid, Zxid};

/// A length prefix that no frame may have; the connection that sent it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFrameLength(pub i32);

impl std::fmt::Display for BadFrameLength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packet len {} is out of range!", self.0)
    }
}

impl std::error::Error for BadFrameLength {}

/// A frame's payload and what follows the frame.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// The payload of the first frame in `bytes`, and what follows it; `None` while it is not all there.
///
/// A length above `length_max` (`jute.maxbuffer`) or below zero is an error, known as soon as its four bytes are.
pub fn split(bytes: &[u8], length_max: usize) -> Result<Option<Split<'_>>, BadFrameLength> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*prefix);
    match usize::try_from(length) {
        Ok(n) if n <= length_max => Ok(rest.split_at_checked(n)),
        _ => Err(BadFrameLength(length)),
    }
}

/// Begins a frame in `out`; give what it returns to [`finish`] when the payload has been written.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

/// Ends the frame that [`begin`] began at `start`.
pub fn finish(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

record! {
    /// What every request begins with.
    pub struct RequestHeader {
        /// The client's number of it.
        xid: Xid,
        /// The opcode, known or not.
        op: i32,
    }
}

record! {
    /// What every reply and every watch event begins with.
    pub struct ReplyHeader {
        /// The request's xid, or -1 of an event.
        xid: Xid,
        /// The zxid of the write, or the last one applied before the read.
        zxid: Zxid,
        /// 0, or why there is no body.
        err: ErrorCode,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_in_pieces() {
        let bytes = [0, 0, 0, 2, 7, 8, 0, 0];
        for n in 0..6 {
            assert_eq!(split(&bytes[..n], 10), Ok(None));
        }
        assert_eq!(split(&bytes, 10), Ok(Some((&[7, 8][..], &[0, 0][..]))));
        assert_eq!(split(&bytes, 2), Ok(Some((&[7, 8][..], &[0, 0][..]))), "the limit itself is allowed");
        assert_eq!(split(&bytes[..4], 1), Err(BadFrameLength(2)), "refused before its payload comes");
        assert_eq!(split(&[255; 4], 10), Err(BadFrameLength(-1)));
    }
}
