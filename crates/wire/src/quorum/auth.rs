//! How servers log in to each other, when SASL is asked for. Source: Apache `QuorumAuth`, `SaslQuorumAuthLearner`.

use crate::jute::{Buffer, DecodeError, Reader};

/// What such a packet begins with; a server that looks at eight bytes knows whether a peer wants to log in.
pub const QUORUM_AUTH_MAGIC: i64 = 0x5f24_3501_3501_edcc;

record! {
    /// A step of a login, either way. It has no length in front.
    pub struct QuorumAuthPacket<'a> {
        /// [`QUORUM_AUTH_MAGIC`].
        magic: i64,
        /// A [`QuorumAuthStatus`], known or not.
        status: i32,
        /// The mechanism's token.
        token: Buffer<'a>,
    }
}

/// How far a login has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum QuorumAuthStatus {
    /// The other side's turn.
    InProgress = 0,
    /// Done.
    Success = 1,
    /// Refused.
    Error = -1,
}

impl<'a> QuorumAuthPacket<'a> {
    /// A step with a token.
    pub fn new(status: QuorumAuthStatus, token: Buffer<'a>) -> Self {
        Self { magic: QUORUM_AUTH_MAGIC, status: status as i32, token }
    }

    /// The status, if it is one.
    pub fn status(&self) -> Option<QuorumAuthStatus> {
        [QuorumAuthStatus::InProgress, QuorumAuthStatus::Success, QuorumAuthStatus::Error]
            .into_iter()
            .find(|it| *it as i32 == self.status)
    }

    /// The first packet in `bytes` and its length; `None` while it is not all there. A token longer than `token_max`
    /// bytes is refused as soon as its length is known, and so is another magic number.
    pub fn split(bytes: &'a [u8], token_max: usize) -> Result<Option<(Self, usize)>, DecodeError> {
        let mut r = Reader::with_limit(bytes, token_max);
        let expected = QUORUM_AUTH_MAGIC.to_be_bytes();
        let seen = bytes.len().min(expected.len());
        if bytes[..seen] != expected[..seen] {
            return Err(r.value_error("no quorum auth packet"));
        }
        match r.read::<Self>() {
            Ok(packet) => Ok(Some((packet, r.offset()))),
            Err(DecodeError::Truncated { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::Field;

    #[test]
    fn a_step_in_pieces() {
        let packet = QuorumAuthPacket::new(QuorumAuthStatus::InProgress, Some(b"token"));
        let bytes = packet.to_vec();
        assert_eq!(bytes, b"\x5f\x24\x35\x01\x35\x01\xed\xcc\0\0\0\0\0\0\0\x05token");
        for n in 0..bytes.len() {
            assert_eq!(QuorumAuthPacket::split(&bytes[..n], 100), Ok(None));
        }
        assert_eq!(QuorumAuthPacket::split(&bytes, 100), Ok(Some((packet, 21))));
        assert!(matches!(QuorumAuthPacket::split(&bytes[..16], 4), Err(DecodeError::Length { .. })));
        assert!(QuorumAuthPacket::split(&[0], 4).is_err());
        assert_eq!(QuorumAuthPacket::new(QuorumAuthStatus::Error, None).to_vec()[8..], [255; 8]);
        let strange = QuorumAuthPacket { status: 9, ..QuorumAuthPacket::new(QuorumAuthStatus::Success, None) };
        assert_eq!(strange.status(), None);
    }
}
