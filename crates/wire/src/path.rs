//! What a znode's path may look like. Source: Apache `PathUtils.validatePath`.

/// Why a path can't be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidPath {
    /// Empty, or not beginning with `/`.
    NotAbsolute,
    /// Ends with `/` and is not the root.
    TrailingSlash,
    /// Two slashes in a row.
    EmptyComponent,
    /// A component `.` or `..`.
    RelativeComponent,
    /// A character that paths can't have: controls, surrogates (all beyond the basic plane), private use, U+FFF0 and up.
    Character(char),
}

/// Checks a path by the rules that create, setData, setACL and check apply.
pub fn validate(path: &str) -> Result<(), InvalidPath> {
    let Some(rest) = path.strip_prefix('/') else { return Err(InvalidPath::NotAbsolute) };
    if rest.is_empty() {
        return Ok(());
    }
    if rest.ends_with('/') {
        return Err(InvalidPath::TrailingSlash);
    }
    // Nearly all paths are plain ASCII without dots at a component's start; one pass decides that.
    let mut previous = b'/';
    let mut plain = true;
    for &b in rest.as_bytes() {
        if b == b'/' && previous == b'/' {
            return Err(InvalidPath::EmptyComponent);
        }
        plain &= (0x20..0x7f).contains(&b) && !(b == b'.' && (previous == b'/' || previous == b'.'));
        previous = b;
    }
    if plain { Ok(()) } else { validate_slowly(rest) }
}

fn validate_slowly(rest: &str) -> Result<(), InvalidPath> {
    for component in rest.split('/') {
        match component {
            "" => return Err(InvalidPath::EmptyComponent),
            "." | ".." => return Err(InvalidPath::RelativeComponent),
            _ => {}
        }
        if let Some(bad) = component.chars().find(|&c| !allowed(c)) {
            return Err(InvalidPath::Character(bad));
        }
    }
    Ok(())
}

/// May this character stand in a path? Java judges UTF-16 units, so everything beyond the basic plane is out.
fn allowed(c: char) -> bool {
    !matches!(c as u32, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// Splits a path into its parent and its last component: `/a/b` → (`/a`, `b`), `/a` → (``, `a`).
///
/// The root's children have the parent ``, as in Apache, whose root has the keys `` and `/`.
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_apache_judges() {
        for good in ["/", "/a", "/a/b", "/...", "/.a", "/a.", "/..a", "/a..b/c", "/ü", "/中文/路径", "/a b", "/zoo~"]
        {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", InvalidPath::NotAbsolute),
            ("a", InvalidPath::NotAbsolute),
            ("/a/", InvalidPath::TrailingSlash),
            ("//", InvalidPath::TrailingSlash),
            ("/a//b", InvalidPath::EmptyComponent),
            ("/.", InvalidPath::RelativeComponent),
            ("/a/../b", InvalidPath::RelativeComponent),
            ("/a\u{0}", InvalidPath::Character('\u{0}')),
            ("/a\u{1f}", InvalidPath::Character('\u{1f}')),
            ("/a\u{7f}", InvalidPath::Character('\u{7f}')),
            ("/\u{e000}", InvalidPath::Character('\u{e000}')),
            ("/\u{fffd}", InvalidPath::Character('\u{fffd}')),
            ("/😀", InvalidPath::Character('😀')),
        ] {
            assert_eq!(validate(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn splits() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!(split("a"), None);
    }
}
