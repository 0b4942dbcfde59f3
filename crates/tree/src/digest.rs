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
    crc.update(&stat_block(stat));
    crc.finalize()
}

/// The [`node_digest`] of a znode of which only the Stat has changed, from what it was before: no byte of its path or data
/// is looked at, and a child that comes or goes costs a parent with much data no more than one with none.
///
/// A CRC is linear: those of two texts of the same length differ by what that of their difference says, and in front of it
/// path and data are zeros, which a CRC without its usual beginning does not see.
pub fn restat_digest(path: &str, digest: u32, before: &StatPersisted, after: &StatPersisted) -> u32 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    let (mut difference, after) = (stat_block(before), stat_block(after));
    difference.iter_mut().zip(after).for_each(|(byte, other)| *byte ^= other);
    digest ^ crc32fast::hash(&difference) ^ crc32fast::hash(&[0; STAT_BYTES])
}

/// The bytes of a Stat in a digest, behind path and data.
const STAT_BYTES: usize = 60;

fn stat_block(stat: &StatPersisted) -> [u8; STAT_BYTES] {
    // Not the order of StatPersisted: the digest has one of its own.
    let mut block = [0; STAT_BYTES];
    block[0..8].copy_from_slice(&stat.czxid.0.to_be_bytes());
    block[8..16].copy_from_slice(&stat.mzxid.0.to_be_bytes());
    block[16..24].copy_from_slice(&stat.pzxid.0.to_be_bytes());
    block[24..32].copy_from_slice(&stat.ctime.to_be_bytes());
    block[32..40].copy_from_slice(&stat.mtime.to_be_bytes());
    block[40..44].copy_from_slice(&stat.version.to_be_bytes());
    block[44..48].copy_from_slice(&stat.cversion.to_be_bytes());
    block[48..52].copy_from_slice(&stat.aversion.to_be_bytes());
    block[52..60].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    block
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::Zxid;

    use super::*;

    fn stat() -> impl Strategy<Value = StatPersisted> {
        (any::<[i64; 6]>(), any::<[i32; 3]>()).prop_map(|([czxid, mzxid, pzxid, ctime, mtime, owner], numbers)| {
            let [version, cversion, aversion] = numbers;
            let (czxid, mzxid, pzxid) = (Zxid(czxid), Zxid(mzxid), Zxid(pzxid));
            StatPersisted { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner: owner, pzxid }
        })
    }

    proptest! {
        #[test]
        fn a_new_stat_makes_the_digest_that_all_of_it_makes(
            path in prop_oneof!["", "/", "/a{0,300}", "/zookeeper", "/zookeeper/[a-z]{1,5}"],
            data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..3000)),
            (before, after) in (stat(), stat()),
        ) {
            let (old, new) = [&before, &after].map(|stat| node_digest(&path, data.as_deref(), stat)).into();
            prop_assert_eq!(restat_digest(&path, old, &before, &after), new);
        }
    }
}
