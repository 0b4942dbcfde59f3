//! Access control lists: who may do what to a znode. Source: `zookeeper.jute`, `ZooDefs.Perms`, `ZooDefs.Ids`.

use crate::jute::{DecodeError, Field, Reader};

/// May read the data and the children's names.
pub const READ: i32 = 1;
/// May set the data.
pub const WRITE: i32 = 2;
/// May create a child.
pub const CREATE: i32 = 4;
/// May delete a child.
pub const DELETE: i32 = 8;
/// May set the ACL.
pub const ADMIN: i32 = 16;
/// All five.
pub const ALL: i32 = 31;

record! {
    /// An identity: a scheme and what that scheme calls it.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Id {
        /// `world`, `auth`, `digest`, `ip`, …
        scheme: String,
        /// The identity in that scheme.
        id: String,
    }
}

record! {
    /// One entry of an access control list.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Acl {
        /// Bits of READ, WRITE, CREATE, DELETE, ADMIN.
        perms: i32,
        /// Who has them.
        id: Id,
    }
}

impl Acl {
    /// An entry.
    pub fn new(perms: i32, scheme: impl Into<String>, id: impl Into<String>) -> Self {
        Self { perms, id: Id { scheme: scheme.into(), id: id.into() } }
    }
}

/// A list in its wire form, count included: compared, interned and logged without decoding it.
///
/// Two lists are equal exactly when their bytes are, since jute has one form for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AclVec<'a>(&'a [u8]);

/// The wire form of `[{31, world:anyone}]`.
const OPEN: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";
/// The wire form of `[{1, world:anyone}]`.
const READ_ONLY: &[u8] = b"\0\0\0\x01\0\0\0\x01\0\0\0\x05world\0\0\0\x06anyone";

impl<'a> AclVec<'a> {
    /// Everyone may do everything.
    pub const OPEN: AclVec<'static> = AclVec(OPEN);
    /// Everyone may read.
    pub const READ: AclVec<'static> = AclVec(READ_ONLY);
    /// No list at all.
    pub const NULL: AclVec<'static> = AclVec(&[255; 4]);

    /// The bytes, count included.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The list whose wire form `encoded` is: bytes that [`as_bytes`](Self::as_bytes) or [`encode`](Self::encode) gave.
    pub const fn of_encoded(encoded: &'a [u8]) -> Self {
        Self(encoded)
    }

    /// The list that `encoded` holds from its start; what follows is left out.
    pub fn parse(encoded: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(encoded))
    }

    /// Its entries; `None` when it is null.
    pub fn decode(self) -> Option<Vec<Acl>> {
        // It was walked when it was read, so it can't fail; a null list is the nearest thing if it did.
        Option::<Vec<Acl>>::read(&mut Reader::with_limit(self.0, self.0.len())).unwrap_or(None)
    }

    /// The wire form of `acls`, to keep beside it.
    pub fn encode(acls: &[Acl]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        (acls.len() as i32).write(&mut out);
        for acl in acls {
            acl.write(&mut out);
        }
        out
    }
}

impl<'a> Field<'a> for AclVec<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let rest = r.remaining();
        if rest.starts_with(OPEN) {
            return r.take(OPEN.len()).map(Self);
        }
        let start = r.offset();
        let count = i32::read(r)?;
        for _ in 0..count.max(0) {
            i32::read(r)?;
            <crate::jute::Buffer<'a>>::read(r)?;
            <crate::jute::Buffer<'a>>::read(r)?;
        }
        Ok(Self(r.since(start)))
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_their_encoding() {
        assert_eq!(AclVec::encode(&[Acl::new(ALL, "world", "anyone")]), OPEN);
        assert_eq!(AclVec::encode(&[Acl::new(READ, "world", "anyone")]), READ_ONLY);
        assert_eq!(AclVec::NULL.decode(), None);
    }

    #[test]
    fn keeps_just_its_own_bytes() {
        let list = vec![Acl::new(3, "ip", "10.0.0.0/8"), Acl::new(1, "digest", "u:x")];
        let mut bytes = AclVec::encode(&list);
        let length = bytes.len();
        bytes.extend_from_slice(b"more");
        let parsed = AclVec::parse(&bytes).unwrap();
        assert_eq!(parsed.as_bytes().len(), length);
        assert_eq!(parsed.decode(), Some(list));
        assert!(AclVec::parse(&bytes[..length - 1]).is_err());
    }
}
