//! Session ids and passwords. Source: Apache `SessionTrackerImpl.initializeNextSessionId`, `ZooKeeperServer`.

use wire::{ServerId, SessionId};

/// The first session id of a server that starts at `wall_ms`: its id in the top byte, 40 bits of ms, 16 bits to count.
pub fn first_session_id(server: ServerId, wall_ms: i64) -> SessionId {
    let millis = ((wall_ms << 24) as u64 >> 8) as i64;
    let id = millis | (server.0 << 56);
    // That value is reserved for containers.
    SessionId(if id == i64::MIN { id + 1 } else { id })
}

const SECRET: u64 = 0xB341_5C00;
const MULTIPLIER: u64 = 0x5DEE_CE66D;
const MASK: u64 = (1 << 48) - 1;

/// The password of a session: what `java.util.Random`, seeded with the id and a constant, gives as its first 16 bytes.
///
/// Every server of an ensemble must make the same, so that clients can move.
pub fn password(session: SessionId) -> [u8; 16] {
    let mut state = (session.0 as u64 ^ SECRET ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for chunk in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

/// Is this the session's password? Looks at every byte, whatever the first ones are.
pub fn password_matches(session: SessionId, given: Option<&[u8]>) -> bool {
    let expected = password(session);
    let given = given.unwrap_or_default();
    session.0 != 0
        && given.len() == expected.len()
        && given.iter().zip(expected).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use ahash::RandomState;
    use tree::owner::{Owner, OwnerRules};

    use super::*;
    use crate::session_tracker::SessionTracker;

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        bytes.iter().fold(String::new(), |mut all, b| {
            let _ = write!(all, "{b:02x}");
            all
        })
    }

    #[test]
    fn passwords_are_apaches() {
        assert_eq!(hex(&password(SessionId(0x100_0000_0000_0001))), "054cc74a37327db215e702e20c73f005");
        assert_eq!(hex(&password(SessionId(0x0100_0d2b_4c9e_0000))), "00fff3298dc492f4de29111f1e903658");
        let id = SessionId(77);
        assert!(password_matches(id, Some(&password(id))));
        assert!(!password_matches(id, Some(&password(SessionId(78)))));
        assert!(!password_matches(id, None));
        assert!(!password_matches(SessionId(0), Some(&password(SessionId(0)))));
    }

    #[test]
    fn ids_carry_server_and_time() {
        let id = first_session_id(ServerId(3), 0x1_9abc_def0_1234);
        assert_eq!(id.0 >> 56, 3);
        assert_eq!(id.0 & 0xffff, 0);
        assert!(first_session_id(ServerId(3), 0x1_9abc_def0_1235) > id);
    }

    /// Whatever the clock says at the start, an id is that of its server, and is taken for no container, TTL or persistent
    /// znode (ZOOKEEPER-1622, ZOOKEEPER-3113).
    #[test]
    fn a_clock_at_its_extremes_makes_ids_of_sessions() {
        let rules = OwnerRules { extended_types: true, emulate_353: false };
        let before_wrap = (1_i64 << 40) - 1;
        let (in_2038, in_2100) = (1 << 31, 4_102_444_800);
        let clocks = [0, 1, before_wrap, before_wrap + 1, in_2038 * 1000, in_2100 * 1000, -1, i64::MIN, i64::MAX];
        for server in 0..=254 {
            for wall_ms in clocks {
                let mut tracker = SessionTracker::new(RandomState::with_seed(1), ServerId(server), 2000, wall_ms);
                let mut last = None;
                for _ in 0..3 {
                    let id = tracker.allocate_id();
                    assert_eq!(rules.decode(id.0), Owner::Session(id), "server {server}, {wall_ms} ms");
                    assert_eq!(id.0 as u64 >> 56, server as u64, "{wall_ms} ms");
                    assert!(last.is_none_or(|last| last < id.0), "server {server}, {wall_ms} ms: it counts up");
                    last = Some(id.0);
                }
            }
        }
    }
}
