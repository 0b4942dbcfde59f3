//! What a stored `ephemeralOwner` means. Source: Apache `EphemeralType`, `EphemeralTypeEmulate353`.

use wire::SessionId;
use wire::stat::CONTAINER_OWNER;

/// Which of the owner's encodings are in force (`zookeeper.extendedTypesEnabled`, `zookeeper.emulate353TTLNodes`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerRules {
    /// TTL znodes exist.
    pub extended_types: bool,
    /// The encoding of 3.5.3 is read too.
    pub emulate_353: bool,
}

/// Who or what ends a znode's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: persistent.
    Void,
    /// A session.
    Session(SessionId),
    /// Its last child.
    Container,
    /// Its time to live, in ms.
    Ttl(i64),
}

const TTL_MASK: i64 = 0xff_ffff_ffff;
const EXTENDED: i64 = 0xff << 56;
/// The longest time to live: 2^40 - 1 ms.
pub const TTL_MAX: i64 = TTL_MASK;

impl OwnerRules {
    /// What `owner` means.
    pub fn decode(self, owner: i64) -> Owner {
        match owner {
            0 => Owner::Void,
            CONTAINER_OWNER => Owner::Container,
            _ if self.extended_types && owner & EXTENDED == EXTENDED => Owner::Ttl(owner & TTL_MASK),
            _ if self.extended_types && self.emulate_353 && owner < 0 => Owner::Ttl(owner & i64::MAX),
            _ => Owner::Session(SessionId(owner)),
        }
    }
}

/// The stored owner of a TTL znode.
pub fn ttl_owner(ttl: i64) -> i64 {
    EXTENDED | (ttl & TTL_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        let (plain, extended) = (OwnerRules::default(), OwnerRules { extended_types: true, emulate_353: false });
        assert_eq!(plain.decode(0), Owner::Void);
        assert_eq!(plain.decode(i64::MIN), Owner::Container);
        assert_eq!(plain.decode(0x100_0000_0000_0000), Owner::Session(SessionId(0x100_0000_0000_0000)));
        assert_eq!(extended.decode(ttl_owner(1000)), Owner::Ttl(1000));
        assert_eq!(plain.decode(ttl_owner(1000)), Owner::Session(SessionId(ttl_owner(1000))));
        let old = OwnerRules { extended_types: true, emulate_353: true };
        assert_eq!(old.decode(i64::MIN + 1000), Owner::Ttl(1000));
    }
}
