//! A copy in a store that speaks S3. Owns the requests and their signatures (version 4);
//! each names the hash of what it carries, so the store refuses what was changed on the way.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use rustic_core::{FileType, Id};
use sha2::{Digest as _, Sha256};
use ureq::SendBody;
use ureq::http::Request;

use super::http::{Http, body, done, element};
use super::place::{MAX_CONFIG, Name, Place, id_of, path_of};
use super::{Clock, Login, S3Bucket, Web};

/// The hash of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// One page of a listing: a thousand names.
const MAX_PAGE: u64 = 8 * 1024 * 1024;
/// A store that goes on listing for ever is not believed: ten million names.
const MAX_PAGES: usize = 10_000;

/// See the module's header.
pub(super) struct S3 {
    http: Http,
    at: S3Bucket,
    login: Option<Login>,
    clock: Clock,
}

impl S3 {
    pub(super) fn new(
        at: S3Bucket,
        login: Option<Login>,
        web: &Web,
        clock: Clock,
    ) -> io::Result<Self> {
        Ok(Self { http: Http::new(&at.endpoint, web)?, at, login, clock })
    }

    /// The key of a file below the prefix.
    fn key(&self, path: &str) -> String {
        match self.at.prefix.as_str() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    fn request(
        &self,
        method: &str,
        key: &str,
        query: &[(&str, &str)],
        hash: &str,
    ) -> ureq::http::request::Builder {
        let path =
            format!("/{}{}{}", escaped(&self.at.bucket, false), slash(key), escaped(key, true));
        let mut query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name, false), escaped(value, false)))
            .collect();
        query.sort();
        let query = query.join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}{mark}{query}", self.at.endpoint))
            .header("x-amz-content-sha256", hash);
        if let Some(login) = &self.login {
            let time = (self.clock)();
            let stamp = time.strftime("%Y%m%dT%H%M%SZ").to_string();
            let asked = Asked { method, path: &path, query: &query, hash };
            let signature = authorization(login, &self.at, &asked, time);
            request = request.header("x-amz-date", stamp).header("authorization", signature);
        }
        request
    }

    fn get(
        &self,
        key: &str,
        query: &[(&str, &str)],
        limit: u64,
        to: &mut dyn Write,
    ) -> io::Result<Option<u64>> {
        let request = self.request("GET", key, query, EMPTY);
        let request = request.body(SendBody::none()).map_err(io::Error::other)?;
        body(self.http.send(request)?, limit, to)
    }

    /// Every page of a listing, one after the other.
    fn pages(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        mut page: impl FnMut(&str),
    ) -> io::Result<()> {
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut query = vec![("list-type", "2"), ("prefix", prefix)];
            query.extend(delimiter.map(|delimiter| ("delimiter", delimiter)));
            query.extend(token.as_deref().map(|token| ("continuation-token", token)));
            let mut text = Vec::new();
            if self.get("", &query, MAX_PAGE, &mut text)?.is_none() {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("there is no bucket `{}`", self.at.bucket),
                ));
            }
            let text = String::from_utf8_lossy(&text);
            page(&text);
            if element(&text, "IsTruncated").as_deref() != Some("true") {
                return Ok(());
            }
            let next = element(&text, "NextContinuationToken");
            if next.is_none() || next == token {
                break;
            }
            token = next;
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "its listing does not end"))
    }
}

impl Place for S3 {
    fn config(&self) -> io::Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        Ok(self.get(&self.key("config"), &[], MAX_CONFIG, &mut content)?.map(|_| content))
    }

    fn prepare(&self) -> io::Result<()> {
        // There are no directories; whether the bucket is there is asked, for a plain answer.
        self.pages(&self.key("config"), None, |_| {})
    }

    fn list(&self, kind: FileType) -> io::Result<Vec<(Id, u64)>> {
        let mut found = Vec::new();
        self.pages(&self.key(&format!("{}/", kind.dirname())), None, |text| {
            for entry in text.split("<Contents>").skip(1) {
                let (Some(key), Some(size)) = (element(entry, "Key"), element(entry, "Size"))
                else {
                    continue;
                };
                let id = key.rsplit('/').next().and_then(id_of);
                found.extend(id.zip(size.trim().parse().ok()));
            }
        })?;
        Ok(found)
    }

    fn read(&self, name: Name, limit: u64, to: &mut dyn Write) -> io::Result<()> {
        match self.get(&self.key(&path_of(name)), &[], limit, to)? {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the file is not there")),
        }
    }

    fn write(&self, name: Name, length: u64, from: &mut dyn Read) -> io::Result<()> {
        let key = self.key(&path_of(name));
        let put = |hash: &str, from: &mut dyn Read| {
            let request = self.request("PUT", &key, &[], hash).header("content-length", length);
            let mut from = from;
            let request =
                request.body(SendBody::from_reader(&mut from)).map_err(io::Error::other)?;
            done(self.http.send(request)?)
        };
        if name.0 != FileType::Config {
            // Its name is the hash of its content.
            return put(name.1.to_hex().as_str(), from);
        }
        let mut content = Vec::new();
        from.take(MAX_CONFIG).read_to_end(&mut content)?;
        put(&hex(&Sha256::digest(&content)), &mut &content[..])
    }

    fn settle(&self) -> io::Result<()> {
        // The store answers when it has stored.
        Ok(())
    }

    fn directories(&self) -> io::Result<Option<Vec<String>>> {
        let prefix = self.key("");
        let mut names = Vec::new();
        self.pages(&prefix, Some("/"), |text| {
            for entry in text.split("<CommonPrefixes>").skip(1) {
                let Some(found) = element(entry, "Prefix") else { continue };
                let name = found.strip_prefix(&prefix).unwrap_or_default().trim_matches('/');
                if !name.is_empty() && !name.contains('/') {
                    names.push(name.to_owned());
                }
            }
        })?;
        Ok(Some(names))
    }
}

/// What is signed of a request.
struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    hash: &'a str,
}

/// The header that shows who asks: a signature over everything that matters in the request.
fn authorization(login: &Login, at: &S3Bucket, asked: &Asked<'_>, time: Timestamp) -> String {
    let host = at.endpoint.split_once("://").map_or(at.endpoint.as_str(), |(_, host)| host);
    let stamp = time.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &stamp[..8];
    let Asked { method, path, query, hash } = asked;
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let canonical = format!(
        "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{hash}\nx-amz-date:{stamp}\n\n{signed}\n{hash}"
    );
    let scope = format!("{day}/{}/s3/aws4_request", at.region);
    let text = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mut key = format!("AWS4{}", login.secret).into_bytes();
    for part in [day, at.region.as_str(), "s3", "aws4_request", text.as_str()] {
        key = hmac(&key, part.as_bytes());
    }
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={}",
        login.name,
        hex(&key)
    )
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // A key of this kind may have any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const fn slash(key: &str) -> &'static str {
    if key.is_empty() { "" } else { "/" }
}

/// As the signature wants it: everything but unreserved characters, and `/` within a key.
fn escaped(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep_slash && byte == b'/' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the specification of signatures ("GET Bucket (List Objects)"),
    /// with the bucket in the host's name as it stands there.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let login = Login {
            name: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        };
        let at = S3Bucket {
            endpoint: "https://examplebucket.s3.amazonaws.com".into(),
            bucket: String::new(),
            prefix: String::new(),
            region: "us-east-1".into(),
        };
        let asked = Asked { method: "GET", path: "/", query: "max-keys=2&prefix=J", hash: EMPTY };
        let time = "2013-05-24T00:00:00Z".parse().unwrap();
        let header = authorization(&login, &at, &asked, time);
        assert!(
            header.ends_with(
                "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
            ),
            "{header}"
        );
    }

    #[test]
    fn names_are_escaped_as_they_are_signed() {
        assert_eq!(escaped("a/b c+ä~", true), "a/b%20c%2B%C3%A4~");
        assert_eq!(escaped("a/b", false), "a%2Fb");
    }
}
