//! Values as Java reads them.
//!
//! A `zoo.cfg` is full of habits of `java.lang`: `Integer.parseInt` takes a sign but no blank, `Integer.getInteger`
//! also takes `0x10`, and a boolean that lives in a system property is false for everything that is not `true`.
//! An operator must get the same answer here, so these rules stand in one place and every key names the one it uses.

/// `Integer.parseInt`, `Long.parseLong`: a sign and decimal digits, nothing else.
pub(super) fn parse_decimal(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// `Integer.getInteger`, `Long.getLong`: decimal, `0x` or `#` for hexadecimal, a leading `0` for octal.
pub(super) fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(hex) =
        digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).or_else(|| digits.strip_prefix('#'))
    {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    // `from_str_radix` would take a second sign; Java does not.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `Boolean.getBoolean`, `Boolean.parseBoolean`: `true` in any case, everything else is false.
pub(super) fn property_bool(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

/// The booleans that ZooKeeper's own parser reads: `true` or `false` in any case.
pub(super) fn strict_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// `Double.parseDouble`, finite numbers only: no key has a use for an infinity.
pub(super) fn parse_double(text: &str) -> Option<f64> {
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    digits.parse().ok().filter(|number: &f64| number.is_finite())
}

/// `String.trim`: everything up to and including the blank goes, at both ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_is_integer_parse_int() {
        for (text, value) in [("0", 0), ("-1", -1), ("+7", 7), ("007", 7), ("2147483647", 2_147_483_647)] {
            assert_eq!(parse_decimal(text), Some(value), "{text}");
        }
        for text in ["", " 1", "1 ", "0x10", "1_000", "1.0", "+", "-", "--1", "9223372036854775808"] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn decode_is_integer_get_integer() {
        for (text, value) in [
            ("0", 0),
            ("0xfffff", 0xfffff),
            ("0XFF", 255),
            ("#10", 16),
            ("010", 8),
            ("-0x10", -16),
            ("4194304", 4_194_304),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(decode(text), Some(value), "{text}");
        }
        for text in ["", "0x", "0x-1", "08", "1k", "-", "9223372036854775808"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_two_kinds_of_booleans() {
        assert!(property_bool("TRUE"));
        assert!(!property_bool("yes") && !property_bool("1") && !property_bool(" true") && !property_bool(""));
        assert_eq!(strict_bool("False"), Some(false));
        assert_eq!(strict_bool("yes"), None);
    }

    #[test]
    fn doubles_and_trim() {
        assert_eq!(parse_double("0.33"), Some(0.33));
        assert_eq!(parse_double("-1"), Some(-1.0));
        assert_eq!(parse_double("2f"), Some(2.0));
        assert_eq!(parse_double("inf"), None);
        assert_eq!(parse_double("x"), None);
        assert_eq!(trim("\u{0}\t a b \r\n"), "a b");
        assert_eq!(trim("\u{a0}x"), "\u{a0}x");
    }
}
