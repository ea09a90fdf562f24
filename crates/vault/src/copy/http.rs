//! HTTP for copies: one agent with timeouts, the system's certificate authorities, no
//! redirects, and answers that are capped. Owns how an answer becomes an error; knows no
//! protocol above.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{Request, Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use super::Web;
use super::place::copy_limited;

/// A connection is made within this time, or not at all.
const CONNECT: Duration = Duration::from_secs(20);
/// A server that says or takes nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);
/// Most that is read of an answer that says why not.
const MAX_REASON: u64 = 16 * 1024;

/// Sends requests.
pub(super) struct Http(Agent);

impl Http {
    pub(super) fn new(url: &str, web: &Web) -> io::Result<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .user_agent(concat!("ringfence/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("https://") {
            config = config.tls_config(tls(web)?);
        }
        if is_loopback(url) {
            // No proxy on the way to this computer itself.
            config = config.proxy(None);
        }
        Ok(Self(config.build().new_agent()))
    }

    /// Sends a request whose body, if any, has the length that its headers say.
    pub(super) fn send(&self, request: Request<SendBody<'_>>) -> io::Result<Response<Body>> {
        self.0.run(request).map_err(|error| match error {
            ureq::Error::Io(error) => error,
            other => io::Error::other(other.to_string()),
        })
    }
}

fn tls(web: &Web) -> io::Result<TlsConfig> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots: Vec<Certificate<'static>> =
        found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    if let Some(path) = &web.authorities {
        let pem = std::fs::read(path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(authority) = item.map_err(io::Error::other)? {
                roots.push(authority);
            }
        }
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|own| host.starts_with(own))
}

/// The body of an answer that is expected, written to `to`, or `None` for 404.
pub(super) fn body(
    response: Response<Body>,
    limit: u64,
    to: &mut dyn Write,
) -> io::Result<Option<u64>> {
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => {
            let mut from = response.into_body().into_with_config().limit(u64::MAX).reader();
            copy_limited(&mut from, limit, to).map(Some)
        }
        _ => Err(refused(response)),
    }
}

/// That a request was carried out.
pub(super) fn done(response: Response<Body>) -> io::Result<()> {
    if response.status().is_success() {
        // Read to its end, so that the connection serves the next request.
        let mut from = response.into_body().into_reader().take(MAX_REASON);
        io::copy(&mut from, &mut io::sink())?;
        return Ok(());
    }
    Err(refused(response))
}

/// Why a server did not do what it was asked: its status, and its own words made harmless.
pub(super) fn refused(response: Response<Body>) -> io::Error {
    let status = response.status();
    let mut text = Vec::new();
    let mut from = response.into_body().into_reader().take(MAX_REASON);
    let _ = from.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let reason = element(&text, "Code").map_or_else(
        || text.lines().next().unwrap_or_default().to_owned(),
        |code| match element(&text, "Message") {
            Some(message) => format!("{code}: {message}"),
            None => code,
        },
    );
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(200).collect();
    let kind = match status {
        StatusCode::NOT_FOUND => io::ErrorKind::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => io::ErrorKind::PermissionDenied,
        StatusCode::INSUFFICIENT_STORAGE => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    let colon = if reason.is_empty() { "" } else { ": " };
    io::Error::new(kind, format!("the server answered {status}{colon}{reason}"))
}

/// The text of the first such element of a small XML document, its entities resolved.
pub(super) fn element(text: &str, name: &str) -> Option<String> {
    let open = format!("<{name}>");
    let start = text.find(&open)? + open.len();
    let end = text[start..].find('<')? + start;
    Some(resolved(&text[start..end]))
}

/// Resolves the entities of XML.
fn resolved(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(end) = rest.find(';') else { break };
        let c = match &rest[1..end] {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            number => {
                let number = number.strip_prefix('#').unwrap_or_default();
                let parsed = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                parsed.ok().and_then(char::from_u32)
            }
        };
        match c {
            Some(c) => out.push(c),
            None => out.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_their_entities_resolved() {
        let text = "<a><Code>No&amp;Key</Code><T>x&#43;&#x2f;&lt;&odd;&</T></a>";
        assert_eq!(element(text, "Code").as_deref(), Some("No&Key"));
        assert_eq!(element(text, "T").as_deref(), Some("x+/<&odd;&"));
        assert_eq!(element(text, "None"), None);
        assert_eq!(element("<T>cut", "T"), None);
    }

    #[test]
    fn this_computer_is_not_behind_a_proxy() {
        for (url, own) in [
            ("http://127.0.0.1:9/x", true),
            ("https://localhost/x", true),
            ("http://[::1]:1/", true),
            ("https://nas.lan/127.0.0.1", false),
        ] {
            assert_eq!(is_loopback(url), own, "{url}");
        }
    }
}
