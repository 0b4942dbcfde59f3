//! The zeros with which the records of a log end: the room that was made for more, or a hole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use storage::log::record::PREFIX_LENGTH;

/// How many bytes are looked at at once.
const CHUNK: usize = 256 << 10;

/// Where something stands behind the zeros with which the records of a file end, if these are no end. Such as a server is about
/// to write over are none: it writes from the front, so they are gone once what is behind them can be seen.
pub(super) fn behind_zeros(path: &Path, offset: u64) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let (mut at, mut chunk) = (offset, vec![0; CHUNK]);
    let found = loop {
        match file.read(&mut chunk)? {
            0 => return Ok(None),
            n => match chunk[..n].iter().position(|byte| *byte != 0) {
                Some(first) => break at + first as u64,
                None => at += n as u64,
            },
        }
    };
    let mut prefix = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(PREFIX_LENGTH as u64).read_to_end(&mut prefix)?;
    Ok((prefix == [0; PREFIX_LENGTH]).then_some(found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::fs;

    use storage::log::record::HEADER;

    use super::*;

    #[test]
    fn what_is_written_meanwhile_is_no_hole() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.1");
        let found = |bytes: &[u8]| {
            fs::write(&log, [&HEADER[..], bytes].concat()).unwrap();
            behind_zeros(&log, HEADER.len() as u64).unwrap()
        };
        assert_eq!(found(&vec![0; 3 * CHUNK]), None);
        assert_eq!(found(&[0; 5]), None);
        assert_eq!(found(&[vec![0; 2 * CHUNK], vec![1]].concat()), Some((HEADER.len() + 2 * CHUNK) as u64));
        // The zeros of an earlier look are gone.
        assert_eq!(found(&[&[0, 0, 0, 0, 7][..], &[0; 100], &[1]].concat()), None);
    }
}
