//! Reads git configuration as git does, bounded and without following anything. Owns the
//! syntax; what a key means is `git`'s.

/// One line of a configuration: `section.name`, or `section.subsection.name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Setting {
    /// In small letters, as git compares it.
    pub(super) section: String,
    /// As it is written.
    pub(super) subsection: Option<String>,
    /// In small letters.
    pub(super) name: String,
    /// `None`: the name stands alone, which means true.
    pub(super) value: Option<String>,
}

impl Setting {
    /// The whole key, for people.
    pub(super) fn key(&self) -> String {
        match &self.subsection {
            Some(subsection) => format!("{}.{subsection}.{}", self.section, self.name),
            None => format!("{}.{}", self.section, self.name),
        }
    }
}

/// The text is none that git reads, or none that is understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Every setting, in order.
///
/// # Errors
/// Where git would stop, or where this reader is not sure.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Setting>, Unreadable> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Each carriage return before a line's end counts as none, as in git.
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    if text.contains('\0') {
        return Err(Unreadable);
    }
    let mut reader = Reader { rest: &text };
    let (mut section, mut settings) = (None, Vec::new());
    loop {
        reader.skip(|c| c.is_ascii_whitespace());
        match reader.peek() {
            None => return Ok(settings),
            Some('#' | ';') => reader.skip(|c| c != '\n'),
            Some('[') => section = Some(reader.header()?),
            Some(c) if c.is_ascii_alphabetic() => {
                let (section, subsection) = section.clone().ok_or(Unreadable)?;
                let name = reader.name();
                let value = reader.value()?;
                settings.push(Setting { section, subsection, name, value });
            }
            Some(_) => return Err(Unreadable),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, matches: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(matches);
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '-') {
            name.push(c.to_ascii_lowercase());
            self.next();
        }
        name
    }

    fn header(&mut self) -> Result<(String, Option<String>), Unreadable> {
        self.next();
        let mut section = String::new();
        loop {
            match self.next() {
                Some(']') => {
                    // The old spelling: what stands behind the first point is in small letters.
                    return Ok(match section.split_once('.') {
                        Some((section, sub)) => (section.to_owned(), Some(sub.to_owned())),
                        None => (section, None),
                    });
                }
                Some(c) if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') => {
                    section.push(c.to_ascii_lowercase());
                }
                Some(' ' | '\t') => break,
                _ => return Err(Unreadable),
            }
        }
        self.skip(|c| c == ' ' || c == '\t');
        if self.next() != Some('"') {
            return Err(Unreadable);
        }
        let mut subsection = String::new();
        loop {
            match self.next() {
                Some('"') => break,
                Some('\\') => {
                    subsection.push(self.next().filter(|c| *c != '\n').ok_or(Unreadable)?)
                }
                Some('\n') | None => return Err(Unreadable),
                Some(c) => subsection.push(c),
            }
        }
        if self.next() != Some(']') {
            return Err(Unreadable);
        }
        Ok((section, Some(subsection)))
    }

    fn value(&mut self) -> Result<Option<String>, Unreadable> {
        self.skip(|c| c == ' ' || c == '\t');
        match self.next() {
            None | Some('\n') => return Ok(None),
            Some('=') => {}
            Some('#' | ';') => {
                self.skip(|c| c != '\n');
                return Ok(None);
            }
            Some(_) => return Err(Unreadable),
        }
        self.skip(|c| c == ' ' || c == '\t');
        let (mut value, mut quoted, mut kept) = (String::new(), false, 0);
        loop {
            match self.next() {
                None | Some('\n') if !quoted => break,
                None | Some('\n') => return Err(Unreadable),
                Some('#' | ';') if !quoted => {
                    self.skip(|c| c != '\n');
                    break;
                }
                Some('"') => {
                    quoted = !quoted;
                    kept = value.len();
                }
                Some('\\') => {
                    match self.next() {
                        Some('\n') => continue,
                        Some('t') => value.push('\t'),
                        Some('b') => value.push('\u{8}'),
                        Some('n') => value.push('\n'),
                        Some(c @ ('"' | '\\')) => value.push(c),
                        _ => return Err(Unreadable),
                    }
                    kept = value.len();
                }
                Some(c) => {
                    value.push(c);
                    if quoted || !c.is_ascii_whitespace() {
                        kept = value.len();
                    }
                }
            }
        }
        value.truncate(kept);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(String, Option<String>)> {
        let settings = read(text.as_bytes()).expect("readable");
        settings.into_iter().map(|setting| (setting.key(), setting.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, Option<String>) {
        (key.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn all_spellings_of_git_are_read() {
        let text = "\u{feff}# comment\n[core] FSMonitor = ./x ; why\n\tbare\r\n[Alias]\nst = \"!sh -c \\\"x #y\\\"\" # z\n\
                    [filter \"A b\\\"c\"]clean=one \\\n  two   \n[url.Old.Way]\ninsteadOf = a\n[http]\nproxy= \n";
        let expected = [
            pair("core.fsmonitor", "./x"),
            ("core.bare".to_owned(), None),
            pair("alias.st", "!sh -c \"x #y\""),
            pair("filter.A b\"c.clean", "one   two"),
            pair("url.old.way.insteadof", "a"),
            pair("http.proxy", ""),
        ];
        assert_eq!(keys(text), expected);
        assert_eq!(keys("[a]\nb = \"  x  \"  y  "), [pair("a.b", "  x    y")]);
    }

    #[test]
    fn what_git_would_not_read_is_not_guessed_at() {
        for text in [
            "x = 1",
            "[core",
            "[core]\n= x",
            "[core]\nx = \"open",
            "[core]\nx = a\\q",
            "[a b]\nx",
            "[a \"b\nc\"]",
            "[core]\n\0x = 1",
            "[core]\nx ! y",
            "[core]\n1x = 2",
        ] {
            assert_eq!(read(text.as_bytes()), Err(Unreadable), "{text:?}");
        }
        assert_eq!(read(b""), Ok(Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fail_otherwise(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
