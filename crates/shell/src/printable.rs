//! What may appear on a terminal. Names and data belong to others: they must not move the cursor, change modes, or look
//! like something that they are not.
//!
//! Controls, what turns the direction of writing round, and what can't be seen are shown by their numbers. Letters that
//! only look alike are no matter of characters and stay. Nothing of this touches a file or a pipe.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with everything that is not what it seems made visible. Line ends and tabs stay.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let written = match u8::try_from(c) {
            _ if is_harmless(c) => shown.write_char(c),
            Ok(byte) if byte < 0x20 => write!(shown, "^{}", char::from(byte + 0x40)),
            Ok(0x7f) => shown.write_str("^?"),
            _ => write!(shown, "<U+{:04X}>", u32::from(c)),
        };
        // A String takes everything.
        let _ = written;
    }
    Cow::Owned(shown)
}

/// The same for a text in JSON, which stays JSON and means the same.
pub fn clean_json(json: &str) -> Cow<'_, str> {
    if json.chars().all(is_harmless) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_harmless(c) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    Cow::Owned(shown)
}

/// Does it appear as itself, and do nothing else? Of Unicode's `Default_Ignorable_Code_Point`, controls, and separators of
/// lines and paragraphs nothing does.
pub fn is_harmless(c: char) -> bool {
    match c {
        '\n' | '\t' | ' '..='~' => true,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        _ => !c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_znode_reaches_the_terminal_as_a_command() {
        assert_eq!(clean("a\n\tb中"), "a\n\tb中");
        assert_eq!(clean("\x1b[2J\x07\x7f\u{9b}x"), "^[[2J^G^?<U+009B>x");
    }

    #[test]
    fn no_name_looks_like_another() {
        assert_eq!(clean("/a\u{202e}gpj.exe"), "/a<U+202E>gpj.exe");
        assert_eq!(clean("ab\u{200b}\u{feff}\u{2066}\u{ad}"), "ab<U+200B><U+FEFF><U+2066><U+00AD>");
        assert_eq!(clean("one\u{2028}two\u{e0041}"), "one<U+2028>two<U+E0041>");
        for range in [0x200b..=0x200f_u32, 0x202a..=0x202e, 0x2060..=0x2069, 0xfeff..=0xfeff, 0x7f..=0x9f] {
            for c in range.filter_map(char::from_u32) {
                assert!(!is_harmless(c), "{c:?}");
            }
        }
        for text in ["/苹果", "naïve e\u{301}", "日本語 ก็ नि", "שלום", "\u{fffd}"] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "path": "/a\u{202e}\u{7f}\u{9b}\u{e0041}中\x1b\"" });
        let shown = clean_json(&value.to_string()).into_owned();
        assert_eq!(shown, r#"{"path":"/a\u202e\u007f\u009b\udb40\udc41中\u001b\""}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
