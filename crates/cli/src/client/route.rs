//! Paths and queries of the API, with everything escaped that has to be. Pure.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A path with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(String);

impl Route {
    /// A constant path.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// One more segment, of any text.
    #[must_use]
    pub fn segment(mut self, segment: &str) -> Self {
        self.0.push('/');
        push_escaped(&mut self.0, segment.as_bytes());
        self
    }

    /// One more parameter, of any text.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.push_query(name, value.as_bytes());
        self
    }

    /// One more parameter that is a path.
    #[must_use]
    pub fn query_path(mut self, name: &str, path: &Path) -> Self {
        self.push_query(name, path.as_os_str().as_bytes());
        self
    }

    /// For `hyper`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn push_query(&mut self, name: &str, value: &[u8]) {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        push_escaped(&mut self.0, value);
    }
}

impl fmt::Display for Route {
    /// Without the query, which may be long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.split('?').next().unwrap_or_default())
    }
}

fn push_escaped(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_escaped() {
        let route = Route::new("/v1/machines")
            .segment("a/../b")
            .query("q", "1&2=3 +ä")
            .query_path("p", Path::new("/x y"));
        assert_eq!(route.as_str(), "/v1/machines/a%2F..%2Fb?q=1%262%3D3%20%2B%C3%A4&p=%2Fx%20y");
        assert_eq!(route.to_string(), "/v1/machines/a%2F..%2Fb");
    }
}
