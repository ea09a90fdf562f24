//! A copy on a restic REST server. Owns the protocol's words; the server may keep it from
//! changing anything that is there (append-only), which is how it is best set up.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustic_core::{FileType, Id};
use serde::Deserialize;
use ureq::SendBody;
use ureq::http::Request;

use super::http::{Http, body, done, refused};
use super::place::{MAX_CONFIG, Name, Place, id_of};
use super::{Login, Web};

/// A listing in which files come with their lengths.
const LISTING: &str = "application/vnd.x.restic.rest.v2";
/// A million files are some 90 MB of it.
const MAX_LISTING: u64 = 512 * 1024 * 1024;

/// See the module's header.
pub(super) struct Rest {
    http: Http,
    /// Ends with `/`.
    url: String,
    login: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    size: u64,
}

impl Rest {
    pub(super) fn new(url: &str, login: Option<Login>, web: &Web) -> io::Result<Self> {
        let login = login.map(|login| {
            format!("Basic {}", STANDARD.encode(format!("{}:{}", login.name, login.secret)))
        });
        Ok(Self { http: Http::new(url, web)?, url: format!("{url}/"), login })
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        match &self.login {
            Some(login) => request.header("authorization", login),
            None => request,
        }
    }

    fn get(
        &self,
        path: &str,
        accept: &str,
        limit: u64,
        to: &mut dyn Write,
    ) -> io::Result<Option<u64>> {
        let request = self.request("GET", path).header("accept", accept);
        body(self.http.send(built(request, SendBody::none())?)?, limit, to)
    }
}

fn built(
    request: ureq::http::request::Builder,
    body: SendBody<'_>,
) -> io::Result<Request<SendBody<'_>>> {
    request.body(body).map_err(io::Error::other)
}

fn path((kind, id): Name) -> String {
    match kind {
        FileType::Config => "config".into(),
        _ => format!("{}/{}", kind.dirname(), id.to_hex().as_str()),
    }
}

impl Place for Rest {
    fn config(&self) -> io::Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        Ok(self.get("config", "*/*", MAX_CONFIG, &mut content)?.map(|_| content))
    }

    fn prepare(&self) -> io::Result<()> {
        let request = self.request("POST", "?create=true").header("content-length", "0");
        done(self.http.send(built(request, SendBody::none())?)?)
    }

    fn list(&self, kind: FileType) -> io::Result<Vec<(Id, u64)>> {
        let mut text = Vec::new();
        let path = format!("{}/", kind.dirname());
        let Some(_) = self.get(&path, LISTING, MAX_LISTING, &mut text)? else {
            return Ok(Vec::new());
        };
        if text.trim_ascii().is_empty() || text.trim_ascii() == b"null" {
            return Ok(Vec::new());
        }
        let listed: Vec<Listed> = serde_json::from_slice(&text).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "its listing cannot be read")
        })?;
        Ok(listed.iter().filter_map(|file| Some((id_of(&file.name)?, file.size))).collect())
    }

    fn read(&self, name: Name, limit: u64, to: &mut dyn Write) -> io::Result<()> {
        match self.get(&path(name), "*/*", limit, to)? {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the file is not there")),
        }
    }

    fn write(&self, name: Name, length: u64, from: &mut dyn Read) -> io::Result<()> {
        let request = self
            .request("POST", &path(name))
            .header("content-type", "application/octet-stream")
            .header("content-length", length);
        let mut from = from;
        let response = self.http.send(built(request, SendBody::from_reader(&mut from))?)?;
        if response.status().is_success() { done(response) } else { Err(refused(response)) }
    }

    fn settle(&self) -> io::Result<()> {
        // The server answers when it has stored.
        Ok(())
    }

    fn directories(&self) -> io::Result<Option<Vec<String>>> {
        Ok(None)
    }
}
