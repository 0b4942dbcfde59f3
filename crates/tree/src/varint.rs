//! Lengths in front of what they are the lengths of: seven bits a byte, the lowest first, in at most five bytes.

/// The length that `bytes` begin with, and in how many bytes it stands.
pub(crate) fn read_varint(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        value |= ((byte & 0x7f) as usize) << (7 * i);
        if byte & 0x80 == 0 {
            return (value, i + 1);
        }
    }
    (value, bytes.len().min(5))
}

/// Writes a length below 2^35; in how many bytes?
pub(crate) fn write_varint(mut value: usize, out: &mut [u8; 5]) -> usize {
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return i + 1;
        }
        *byte |= 0x80;
    }
    out.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for value in (0..=35).flat_map(|bits| [(1 << bits) - 1, 1 << bits]).filter(|value| *value < 1_usize << 35) {
            let mut bytes = [0xff; 5];
            let length = write_varint(value, &mut bytes);
            assert_eq!(read_varint(&bytes), (value, length), "{value}");
            assert_eq!(length, (usize::BITS - value.leading_zeros()).div_ceil(7).max(1) as usize);
        }
    }
}
