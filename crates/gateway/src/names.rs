//! Host names in an allow list: parsing and matching, both pure.

/// One entry of an allow list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamePattern {
    /// Exactly this name.
    Exact(String),
    /// This name and every name below it.
    Suffix(String),
}

impl NamePattern {
    /// Parses `example.org` or `*.example.org`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, suffix) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > 253 || !name.split('.').all(label_ok) {
            return Err(format!("{text:?} is not a host name"));
        }
        Ok(if suffix { Self::Suffix(name) } else { Self::Exact(name) })
    }

    /// Whether `name` (lower case, no final dot) is covered.
    pub(crate) fn covers(&self, name: &str) -> bool {
        match self {
            Self::Exact(own) => name == own,
            Self::Suffix(own) => name
                .strip_suffix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_and_suffix() {
        let exact = NamePattern::parse("Example.org.").unwrap();
        assert!(exact.covers("example.org"));
        assert!(!exact.covers("www.example.org"));
        let suffix = NamePattern::parse("*.example.org").unwrap();
        assert!(suffix.covers("example.org"));
        assert!(suffix.covers("a.b.example.org"));
        assert!(!suffix.covers("evilexample.org"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "*", "*.", "a..b", "a b", "http://x", "a/b", &"a".repeat(64)] {
            assert!(NamePattern::parse(text).is_err(), "{text:?}");
        }
    }
}
