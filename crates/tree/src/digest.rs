//! The digest of a tree: a sum over znodes, equal to Apache's at every zxid. Source: `DigestCalculator`, `AdHash`.

use wire::StatPersisted;

/// What the znode at `path` adds to the tree's digest: a CRC-32 of its path, its data and its Stat.
///
/// What lies below `/zookeeper/` adds nothing; `/zookeeper` itself and the root (as path ``) do.
pub fn node_digest(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    let mut crc = crc32fast::Hasher::new();
    if path != "/" {
        crc.update(path.as_bytes());
    }
    if let Some(data) = data {
        crc.update(data);
    }
    // Not the order of StatPersisted: the digest has one of its own.
    let mut block = [0; 60];
    block[0..8].copy_from_slice(&stat.czxid.0.to_be_bytes());
    block[8..16].copy_from_slice(&stat.mzxid.0.to_be_bytes());
    block[16..24].copy_from_slice(&stat.pzxid.0.to_be_bytes());
    block[24..32].copy_from_slice(&stat.ctime.to_be_bytes());
    block[32..40].copy_from_slice(&stat.mtime.to_be_bytes());
    block[40..44].copy_from_slice(&stat.version.to_be_bytes());
    block[44..48].copy_from_slice(&stat.cversion.to_be_bytes());
    block[48..52].copy_from_slice(&stat.aversion.to_be_bytes());
    block[52..60].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    crc.update(&block);
    crc.finalize()
}

/// A tree's digest: the sum of its znodes', modulo 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeDigest(pub i64);

impl TreeDigest {
    /// With one znode's contribution replaced by another (0: none).
    #[must_use]
    pub fn replace(self, old: u32, new: u32) -> Self {
        Self(self.0.wrapping_sub(i64::from(old)).wrapping_add(i64::from(new)))
    }
}
