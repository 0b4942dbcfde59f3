//! A line into words: blanks part them, `'…'` and `"…"` hold them together, nothing is escaped.
//!
//! Source: `ZooKeeperMain.MyCommandOptions.parseCommand`. A quote that begins a word ends it too, so `"a"b` is two words,
//! and a quote inside a word is part of it. Where Apache drops a quote that is never closed and goes on with what is
//! left (`create /a "b c` makes `c` an ACL), the line is refused here.

/// A quote was opened and not closed; what begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnclosedQuote(pub String);

/// The words of a line.
pub fn split(line: &str) -> Result<Vec<String>, UnclosedQuote> {
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches(is_blank);
    while let Some(first) = rest.chars().next() {
        if first == '"' || first == '\'' {
            let Some((word, behind)) = rest[1..].split_once(first) else {
                return Err(UnclosedQuote(rest.to_owned()));
            };
            words.push(word.to_owned());
            rest = behind;
        } else {
            let end = rest.find(is_blank).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        rest = rest.trim_start_matches(is_blank);
    }
    Ok(words)
}

/// The commands of a text with several lines: each ends with its line, but for a line end between quotes, which belongs to
/// the word, so that no line of somebody's data is taken for a command; a quote that is not closed takes everything behind
/// it. Empty lines and lines that begin with `#` are left out.
pub fn commands(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (command, behind) = rest.split_at(command_end(rest));
        if !is_nothing(command) {
            found.push(command);
        }
        rest = behind.strip_prefix('\n').unwrap_or(behind);
    }
    found
}

/// A line that asks for nothing: empty, or a comment.
pub fn is_nothing(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn command_end(text: &str) -> usize {
    if is_nothing(text.split('\n').next().unwrap_or_default()) {
        return text.find('\n').unwrap_or(text.len());
    }
    let mut at = 0;
    loop {
        let rest = &text[at..];
        at += match rest.chars().next() {
            None | Some('\n') => return at,
            Some(quote @ ('"' | '\'')) => match rest[1..].find(quote) {
                Some(close) => close + 2,
                None => return text.len(),
            },
            Some(c) if is_blank(c) => c.len_utf8(),
            Some(_) => rest.find(is_blank).unwrap_or(rest.len()),
        };
    }
}

/// Where the last word of an unfinished line begins, and that word without its quote: what completion goes on with.
/// `None` for the place means that a new word begins.
pub fn last_word(line: &str) -> (usize, &str) {
    let mut at = 0;
    loop {
        let rest = &line[at..];
        let blanks = rest.len() - rest.trim_start_matches(is_blank).len();
        at += blanks;
        let rest = &line[at..];
        let Some(first) = rest.chars().next() else { return (at, "") };
        let end = if first == '"' || first == '\'' {
            match rest[1..].find(first) {
                Some(close) => close + 2,
                None => return (at + 1, &rest[1..]),
            }
        } else {
            rest.find(is_blank).unwrap_or(rest.len())
        };
        if at + end == line.len() {
            return (at, rest);
        }
        at += end;
    }
}

/// What Java's `\s` matches.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap()
    }

    #[test]
    fn blanks_part_and_quotes_hold_together() {
        assert_eq!(words("  get   -s\t/a "), ["get", "-s", "/a"]);
        assert_eq!(words("create /a 'hello world'"), ["create", "/a", "hello world"]);
        assert_eq!(words("create /a \"it's\""), ["create", "/a", "it's"]);
        assert_eq!(words("set /a \"\""), ["set", "/a", ""]);
        assert_eq!(words("set /a {\"k\":\"v w\"}"), ["set", "/a", "{\"k\":\"v", "w\"}"], "a quote inside is a letter");
        assert_eq!(words("\"a\"b 'c''d'"), ["a", "b", "c", "d"], "a closing quote ends the word");
        assert_eq!(words("get /中文/路径"), ["get", "/中文/路径"]);
        assert_eq!(words(" \t "), Vec::<String>::new());
        assert_eq!(words("a\u{3000}b"), ["a\u{3000}b"], "only ASCII blanks part");
    }

    #[test]
    fn a_line_end_ends_a_command_except_between_quotes() {
        assert_eq!(commands("get /a\n\n  \t\nls /\n"), ["get /a", "ls /"]);
        assert_eq!(commands("get /a"), ["get /a"]);
        assert_eq!(commands(" \n"), Vec::<&str>::new());
        assert_eq!(commands("set /a 'x\ndelete /b\n'\nget /a"), ["set /a 'x\ndelete /b\n'", "get /a"]);
        assert_eq!(commands("create /a it's\nget /a"), ["create /a it's", "get /a"], "a quote inside is a letter");
        assert_eq!(commands("create /a \"it's\"\nls /"), ["create /a \"it's\"", "ls /"]);
        assert_eq!(commands("set /a 'x\ndelete /b\n"), ["set /a 'x\ndelete /b\n"], "refused as a whole, not in part");
        assert_eq!(commands("# it 's\nls /\n  # 'too"), ["ls /"]);
        assert_eq!(commands("create /中 文\nls /"), ["create /中 文", "ls /"]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_refused() {
        assert_eq!(split("create /a \"b c"), Err(UnclosedQuote("\"b c".to_owned())));
        assert_eq!(split("create /a 'b\" c"), Err(UnclosedQuote("'b\" c".to_owned())));
    }

    #[test]
    fn the_word_to_go_on_with() {
        assert_eq!(last_word(""), (0, ""));
        assert_eq!(last_word("ge"), (0, "ge"));
        assert_eq!(last_word("get "), (4, ""));
        assert_eq!(last_word("get -s /a/b"), (7, "/a/b"));
        assert_eq!(last_word("get '/a b"), (5, "/a b"));
        assert_eq!(last_word("get /中"), (4, "/中"));
    }
}
