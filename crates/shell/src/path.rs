//! Which paths can be: Apache's client refuses the others before it asks a server, with these texts.

/// Why a path can't be, as `PathUtils.validatePath` says it. The path of a sequential znode may end in `/`, since a
/// number follows. Positions count UTF-16 units, as Java's do.
pub fn validate(path: &str, sequential: bool) -> Result<(), String> {
    let numbered;
    let path = if sequential {
        numbered = format!("{path}1");
        &numbered
    } else {
        path
    };
    if path.is_empty() {
        return Err("Path length must be > 0".to_owned());
    }
    if !path.starts_with('/') {
        return Err("Path must start with / character".to_owned());
    }
    if path.len() == 1 {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err("Path must not end with / character".to_owned());
    }
    match reason(path) {
        Some((what, at)) => Err(format!("Invalid path string \"{path}\" caused by {what} @{at}")),
        None => Ok(()),
    }
}

fn reason(path: &str) -> Option<(&'static str, usize)> {
    let units: Vec<u16> = path.encode_utf16().collect();
    let is = |at: usize, c: char| units.get(at).is_some_and(|it| u32::from(*it) == u32::from(c));
    for at in 1..units.len() {
        let ends = at + 1 == units.len() || is(at + 1, '/');
        let (dot, dot_before) = (is(at, '.'), is(at - 1, '.'));
        match units[at] {
            0 => return Some(("null character not allowed", at)),
            _ if is(at, '/') && is(at - 1, '/') => return Some(("empty node name specified", at)),
            _ if dot && dot_before && at >= 2 && is(at - 2, '/') && ends => {
                return Some(("relative paths not allowed", at));
            }
            _ if dot && !dot_before && is(at - 1, '/') && ends => return Some(("relative paths not allowed", at)),
            0x0001..=0x001f | 0x007f..=0x009f | 0xd800..=0xf8ff | 0xfff0..=0xffff => {
                return Some(("invalid character", at));
            }
            _ => {}
        }
    }
    None
}

/// The path of a child.
pub fn join(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// The path above; of `/` itself.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(path: &str) -> String {
        validate(path, false).unwrap_err()
    }

    #[test]
    fn good_paths() {
        for path in ["/", "/a", "/a/b.c", "/a/..b", "/a/...", "/.a", "/中文/路径", "/a b"] {
            assert_eq!(validate(path, false), Ok(()), "{path}");
        }
        assert_eq!(validate("/a/", true), Ok(()));
        assert_eq!(validate("/", true), Ok(()));
    }

    #[test]
    fn bad_paths_in_apaches_words() {
        assert_eq!(why(""), "Path length must be > 0");
        assert_eq!(why("a"), "Path must start with / character");
        assert_eq!(why("/a/"), "Path must not end with / character");
        assert_eq!(why("/a//b"), "Invalid path string \"/a//b\" caused by empty node name specified @3");
        assert_eq!(why("/a/./b"), "Invalid path string \"/a/./b\" caused by relative paths not allowed @3");
        assert_eq!(why("/a/.."), "Invalid path string \"/a/..\" caused by relative paths not allowed @4");
        assert_eq!(why("/中\u{7f}"), "Invalid path string \"/中\u{7f}\" caused by invalid character @2");
        assert_eq!(why("/🐎"), "Invalid path string \"/🐎\" caused by invalid character @1");
        assert_eq!(why("/a\0"), "Invalid path string \"/a\0\" caused by null character not allowed @2");
    }

    #[test]
    fn up_and_down() {
        assert_eq!((parent("/a/b"), parent("/a"), parent("/")), ("/a", "/", "/"));
        assert_eq!((join("/", "a"), join("/a", "b")), ("/a".to_owned(), "/a/b".to_owned()));
    }
}
