//! The ip scheme: `address` or `address/bits`; IPv4 and IPv6 never match each other.

/// An address as bytes: four or sixteen of them count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    bytes: [u8; 16],
    length: usize,
}

impl Address {
    fn bits(self) -> u32 {
        self.length as u32 * 8
    }
}

/// Whether `expression` can stand in an ACL.
pub(crate) fn is_valid_id(expression: &str) -> bool {
    parse_expression(expression).is_some()
}

/// Whether the client with the address `client` is one of those that `expression` names.
pub(crate) fn matches(client: &str, expression: &str) -> bool {
    let Some((network, bits)) = parse_expression(expression) else { return false };
    let Some(client) = parse_address(client) else { return false };
    client.length == network.length && same_prefix(&client.bytes, &network.bytes, bits)
}

fn same_prefix(a: &[u8; 16], b: &[u8; 16], bits: u32) -> bool {
    let whole = (bits / 8) as usize;
    let rest = bits % 8;
    if a[..whole] != b[..whole] {
        return false;
    }
    rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0
}

/// `address` or `address/bits`.
fn parse_expression(expression: &str) -> Option<(Address, u32)> {
    match expression.split_once('/') {
        None => parse_address(expression).map(|address| (address, address.bits())),
        Some((address, bits)) => {
            let address = parse_address(address)?;
            let bits: i64 = bits.parse().ok()?;
            let bits = u32::try_from(bits).ok().filter(|bits| *bits <= address.bits())?;
            Some((address, bits))
        }
    }
}

fn parse_address(text: &str) -> Option<Address> {
    parse_v4(text).or_else(|| parse_v6(text))
}

/// Four decimal numbers up to 255; leading zeros and a sign are fine, as for `Integer.parseInt`.
fn parse_v4(text: &str) -> Option<Address> {
    let mut bytes = [0; 16];
    let mut length = 0;
    for part in text.split('.') {
        if length == 4 {
            return None;
        }
        let number: i32 = part.parse().ok()?;
        bytes[length] = u8::try_from(number).ok()?;
        length += 1;
    }
    (length == 4).then_some(Address { bytes, length })
}

/// Eight groups of up to four hexadecimal digits, one `::` for a run of zeros; no embedded IPv4, no scope.
fn parse_v6(text: &str) -> Option<Address> {
    let (head, tail) = match text.split_once("::") {
        None => (text, None),
        Some((head, tail)) => (head, Some(tail)),
    };
    let mut bytes = [0; 16];
    let head_groups = parse_groups(head, &mut bytes)?;
    match tail {
        None if head_groups == 8 => {}
        None => return None,
        Some(tail) => {
            let mut tail_bytes = [0; 16];
            let tail_groups = parse_groups(tail, &mut tail_bytes)?;
            if head_groups + tail_groups > 7 {
                return None;
            }
            bytes[16 - tail_groups * 2..].copy_from_slice(&tail_bytes[..tail_groups * 2]);
        }
    }
    Some(Address { bytes, length: 16 })
}

/// Groups divided by colons into `bytes`, and how many there are.
fn parse_groups(text: &str, bytes: &mut [u8; 16]) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    let mut groups = 0;
    for group in text.split(':') {
        let hexadecimal = !group.is_empty() && group.len() <= 4 && group.bytes().all(|b| b.is_ascii_hexdigit());
        if groups == 8 || !hexadecimal {
            return None;
        }
        let value = u16::from_str_radix(group, 16).ok()?;
        bytes[groups * 2..groups * 2 + 2].copy_from_slice(&value.to_be_bytes());
        groups += 1;
    }
    Some(groups)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::identities::host_address;

    #[test]
    fn valid_expressions() {
        for good in
            ["127.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32", "::1", "::", "fe80::/10", "1:2:3:4:5:6:7:8/128"]
        {
            assert!(is_valid_id(good), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/",
            "1.2.3.4/8/8",
            "1.2.3.-4",
            "::1/129",
            "1::2::3",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "::12345",
            "::ffff:1.2.3.4",
            "fe80::1%eth0",
            ":::",
            "1:2:3:4:5:6:7::8:9",
            " 1.2.3.4",
        ] {
            assert!(!is_valid_id(bad), "{bad}");
        }
    }

    #[test]
    fn matching() {
        assert!(matches("10.1.2.3", "10.0.0.0/8"));
        assert!(!matches("11.1.2.3", "10.0.0.0/8"));
        assert!(matches("10.1.2.3", "10.1.2.3"));
        assert!(!matches("10.1.2.3", "10.1.2.4"));
        assert!(matches("192.168.1.130", "192.168.1.128/25"));
        assert!(!matches("192.168.1.127", "192.168.1.128/25"));
        assert!(matches("0:0:0:0:0:0:0:1", "::1"));
        assert!(matches("fe80:0:0:0:1:2:3:4", "fe80::/10"));
        // Families never mix, not even with zero bits.
        assert!(!matches("10.1.2.3", "::/0"));
        assert!(!matches("0:0:0:0:0:0:0:1", "0.0.0.0/0"));
        assert!(!matches("fe80:0:0:0:1:2:3:4%2", "fe80::/10"));
    }

    proptest! {
        #[test]
        fn cidr_v4_is_a_mask(client: u32, network: u32, bits in 0_u32..=32, near: bool) {
            let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
            let client = if near { (network & mask) | (client & !mask) } else { client };
            let expected = client & mask == network & mask;
            let expression = format!("{}/{bits}", Ipv4Addr::from(network));
            prop_assert_eq!(matches(&host_address(IpAddr::V4(Ipv4Addr::from(client))), &expression), expected);
        }

        #[test]
        fn cidr_v6_is_a_mask(client: u128, network: u128, bits in 0_u32..=128, near: bool) {
            let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
            let client = if near { (network & mask) | (client & !mask) } else { client };
            let expected = client & mask == network & mask;
            let groups = Ipv6Addr::from(network).segments().map(|group| format!("{group:x}")).join(":");
            let client = Ipv6Addr::from(client).segments().map(|group| format!("{group:x}")).join(":");
            prop_assert_eq!(matches(&client, &format!("{groups}/{bits}")), expected);
        }

        #[test]
        fn compressed_text_is_understood(address: u128, zero_from in 0_usize..8, zeros in 0_usize..8) {
            let mut segments = Ipv6Addr::from(address).segments();
            for segment in segments.iter_mut().skip(zero_from).take(zeros) {
                *segment = 0;
            }
            let address = Ipv6Addr::from(segments);
            prop_assume!(!address.to_string().contains('.'));
            prop_assert_eq!(parse_v6(&address.to_string()), Some(Address { bytes: address.octets(), length: 16 }));
        }

        #[test]
        fn any_text_is_survived(client in ".{0,30}", expression in "[0-9a-f:./%x-]{0,40}") {
            let _ = matches(&client, &expression);
            let _ = matches(&expression, &expression);
        }
    }
}
