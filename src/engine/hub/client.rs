//! The hub's HTTP interface: listing a repository, downloading its files with resumption and a check of what arrived.
//!
//! Large files are answered with a redirection to storage elsewhere. It is followed by hand: the access token goes to the
//! hub alone, and the size and hash that the hub announced are those of its own answer. Source: `file_download.py` and
//! `hf_api.py` of huggingface_hub.

use super::cache::{Repository, plain};
use super::{Hub, Reference};
use crate::engine::error::{Error, Result};
use crate::engine::interrupt;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Body;
use ureq::http::{HeaderMap, Response, Uri};

/// Tries of one request or download before giving up.
const TRIES: u32 = 5;
/// Waiting before the second try; doubled each time.
const PAUSE: Duration = Duration::from_millis(400);
/// Redirections followed.
const HOPS: usize = 5;
/// Bytes between two polls of Ctrl-C.
const CHUNK: usize = 1 << 16;

/// A file as a listing names it.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    /// Bytes, where the hub says.
    pub(super) size: Option<u64>,
}

/// What a revision of a repository holds.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<RemoteFile>,
}

/// What the hub announces of a file.
struct Announced {
    etag: String,
    size: Option<u64>,
}

pub(super) struct Client<'a> {
    agent: ureq::Agent,
    hub: &'a Hub,
}

/// What one attempt came to.
enum Attempt<T> {
    Done(T),
    /// Worth another try, for this reason.
    Again(String),
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("lora-host/", env!("CARGO_PKG_VERSION")))
            .build();
        Client { agent: config.new_agent(), hub }
    }

    /// Commit and files of `reference`.
    pub(super) fn listing(&self, reference: &Reference) -> Result<Listing> {
        let Reference { repo, revision, .. } = reference;
        let url = format!("{}/api/models/{repo}/revision/{revision}?blobs=true", self.hub.endpoint);
        let text = self.insist(&url, || {
            let mut response = match self.get(&url, None)? {
                Attempt::Done(response) => response,
                Attempt::Again(why) => return Ok(Attempt::Again(why)),
            };
            self.accept(reference, &url, &response)?;
            Ok(match response.body_mut().with_config().limit(64 << 20).read_to_string() {
                Ok(text) => Attempt::Done(text),
                Err(e) => Attempt::Again(e.to_string()),
            })
        })?;
        listing(&text).ok_or_else(|| {
            let help = "is HF_ENDPOINT the address of a hub?".to_string();
            Error::network(format!("{url} did not answer with the listing of a repository"), Some(help))
        })
    }

    /// Brings `file` of `commit` into `repository`, and returns its size. `progress` is called with the bytes so far.
    pub(super) fn download(
        &self,
        repository: &Repository,
        commit: &str,
        file: &RemoteFile,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64> {
        let url = format!("{}/{}/resolve/{commit}/{}", self.hub.endpoint, repository.repo, file.name);
        self.insist(&url, || {
            interrupt::poll_any()?;
            let (announced, body) = match self.open(&url, repository)? {
                Attempt::Done(opened) => opened,
                Attempt::Again(why) => return Ok(Attempt::Again(why)),
            };
            let blob = repository.blob(&announced.etag);
            if let Some((mut out, part, response)) = body
                && let Some(why) = receive(response, &mut out, progress)?
            {
                drop((out, part));
                return Ok(Attempt::Again(why));
            }
            let part = repository.blob(&format!("{}.incomplete", announced.etag));
            if part.exists() {
                check(&part, &announced)?;
                std::fs::rename(&part, &blob).map_err(Error::io(&blob))?;
            }
            repository.name(commit, &file.name, &announced.etag)?;
            let size = std::fs::metadata(&blob).map_err(Error::io(&blob))?.len();
            progress(size);
            Ok(Attempt::Done(size))
        })
    }

    /// What the hub says of the file at `url`; and, unless its content is there already, the unfinished file with the rest of
    /// the content to come.
    #[allow(clippy::type_complexity)]
    fn open(
        &self,
        url: &str,
        repository: &Repository,
    ) -> Result<Attempt<(Announced, Option<(File, PathBuf, Response<Body>)>)>> {
        let first = match self.head(url)? {
            Attempt::Done(response) => response,
            Attempt::Again(why) => return Ok(Attempt::Again(why)),
        };
        let reference = Reference { repo: repository.repo.clone(), revision: "main".into(), file: None };
        self.accept(&reference, url, &first)?;
        let Some(announced) = announced(first.headers()) else {
            return Err(Error::network(format!("{url}: the hub announced no usable ETag"), None));
        };
        if repository.blob(&announced.etag).is_file() {
            return Ok(Attempt::Done((announced, None)));
        }
        let (mut out, part) = repository.unfinished(&announced.etag)?;
        let have = out.seek(SeekFrom::End(0)).map_err(Error::io(&part))?;
        match announced.size {
            Some(size) if have == size => return Ok(Attempt::Done((announced, None))),
            Some(size) if have > size => out.set_len(0).map_err(Error::io(&part))?,
            _ => {}
        }
        let have = out.metadata().map_err(Error::io(&part))?.len();
        let response = match self.get(url, Some(have).filter(|n| *n > 0))? {
            Attempt::Done(response) => response,
            Attempt::Again(why) => return Ok(Attempt::Again(why)),
        };
        match response.status().as_u16() {
            206 => {}
            // The whole again: this storage knows no ranges.
            200 => out.set_len(0).map_err(Error::io(&part))?,
            416 => {
                out.set_len(0).map_err(Error::io(&part))?;
                return Ok(Attempt::Again("the part downloaded before does not fit".into()));
            }
            _ => self.accept(&reference, url, &response)?,
        }
        Ok(Attempt::Done((announced, Some((out, part, response)))))
    }

    /// GET, with redirections followed.
    fn get(&self, url: &str, from: Option<u64>) -> Result<Attempt<Response<Body>>> {
        self.follow(url, |at| self.send(at, false, from), |response| !response.status().is_redirection())
    }

    /// HEAD, with redirections followed until the hub says what the file is: a renamed repository is elsewhere on the hub,
    /// a large file is announced in the redirection itself.
    fn head(&self, url: &str) -> Result<Attempt<Response<Body>>> {
        let told = |response: &Response<Body>| {
            !response.status().is_redirection() || response.headers().contains_key("x-linked-etag")
        };
        self.follow(url, |at| self.send(at, true, None), told)
    }

    fn follow(
        &self,
        url: &str,
        send: impl Fn(&str) -> Result<Attempt<Response<Body>>>,
        enough: impl Fn(&Response<Body>) -> bool,
    ) -> Result<Attempt<Response<Body>>> {
        let mut at = url.to_string();
        for _ in 0..HOPS {
            let response = match send(&at)? {
                Attempt::Done(response) => response,
                again => return Ok(again),
            };
            if enough(&response) {
                return Ok(Attempt::Done(response));
            }
            at = redirected(&at, response.headers())
                .ok_or_else(|| Error::network(format!("{at} redirects to nowhere"), None))?;
        }
        Err(Error::network(format!("{url} redirects more than {HOPS} times"), None))
    }

    /// One request.
    fn send(&self, url: &str, head: bool, from: Option<u64>) -> Result<Attempt<Response<Body>>> {
        let mut request = if head { self.agent.head(url) } else { self.agent.get(url) };
        if let Some(token) = self.hub.token.as_ref().filter(|_| same_host(url, &self.hub.endpoint)) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(from) = from {
            request = request.header("Range", format!("bytes={from}-"));
        }
        match request.call() {
            Ok(response) if response.status().is_server_error() || response.status().as_u16() == 429 => {
                Ok(Attempt::Again(format!("status {}", response.status())))
            }
            Ok(response) => Ok(Attempt::Done(response)),
            Err(
                e @ (ureq::Error::BadUri(_) | ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired),
            ) => Err(Error::network(format!("{url}: {e}"), None)),
            Err(e) => Ok(Attempt::Again(e.to_string())),
        }
    }

    /// An error for an answer that is none.
    fn accept(&self, reference: &Reference, url: &str, response: &Response<Body>) -> Result<()> {
        let Reference { repo, revision, .. } = reference;
        let page = format!("{}/{repo}", self.hub.endpoint);
        let (why, help) = match response.status().as_u16() {
            200..=399 => return Ok(()),
            401 | 403 if self.hub.token.is_some() => (
                format!("{repo}: the hub refuses access"),
                format!("{page} may want its terms accepted first; the token must be one that may read it"),
            ),
            401 | 403 => (
                format!("{repo}: there is no such repository, or it is private or gated"),
                format!("if it is gated, accept its terms at {page}; then put an access token into HF_TOKEN"),
            ),
            404 => (
                format!("{repo}: the hub has no such repository, or no revision `{revision}` of it"),
                format!("look at {page}"),
            ),
            status => (format!("{url}: status {status}"), "try again later".into()),
        };
        Err(Error::network(why, Some(help)))
    }

    /// Runs `attempt` until it is done or has failed too often.
    fn insist<T>(&self, url: &str, mut attempt: impl FnMut() -> Result<Attempt<T>>) -> Result<T> {
        let mut pause = PAUSE;
        let mut last = String::new();
        for left in (0..TRIES).rev() {
            match attempt()? {
                Attempt::Done(value) => return Ok(value),
                Attempt::Again(why) => last = why,
            }
            if left > 0 {
                wait(pause)?;
                pause *= 2;
            }
        }
        let help = "what was downloaded is kept; the same command goes on from there".to_string();
        Err(Error::network(format!("{url}: {last} ({TRIES} tries)"), Some(help)))
    }
}

fn wait(time: Duration) -> Result<()> {
    let slice = Duration::from_millis(50);
    for _ in 0..time.as_millis().div_ceil(slice.as_millis()) {
        interrupt::poll_any()?;
        std::thread::sleep(slice);
    }
    Ok(())
}

/// Appends the body to `out`; `Some` with the reason if it broke off.
fn receive(mut response: Response<Body>, out: &mut File, progress: &mut dyn FnMut(u64)) -> Result<Option<String>> {
    let written = |e| Error::network(format!("the model cache cannot be written: {e}"), None);
    let mut done = out.metadata().map_err(written)?.len();
    let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        interrupt::poll_any()?;
        match reader.read(&mut chunk) {
            Ok(0) => return out.flush().map_err(written).map(|()| None),
            Ok(n) => {
                out.write_all(&chunk[..n]).map_err(written)?;
                done += n as u64;
                progress(done);
            }
            Err(e) => return Ok(Some(e.to_string())),
        }
    }
}

/// Size, and hash where the ETag is one (files in large-file storage). What does not fit is removed.
fn check(part: &Path, announced: &Announced) -> Result<()> {
    let size = std::fs::metadata(part).map_err(Error::io(part))?.len();
    let wrong = |message: String| {
        // The next try begins anew.
        let _ = std::fs::remove_file(part);
        Err(Error::format(part, message))
    };
    if let Some(wanted) = announced.size
        && size != wanted
    {
        return wrong(format!("{size} bytes arrived, the hub announced {wanted}; removed, try again"));
    }
    if announced.etag.len() != 64 || !announced.etag.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut file = File::open(part).map_err(Error::io(part))?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        interrupt::poll_any()?;
        match file.read(&mut chunk).map_err(Error::io(part))? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if found != announced.etag.to_ascii_lowercase() {
        return wrong(format!("sha256 {found}, the hub announced {}; removed, try again", announced.etag));
    }
    Ok(())
}

fn listing(text: &str) -> Option<Listing> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let commit = json.get("sha")?.as_str().filter(|sha| sha.bytes().all(|b| b.is_ascii_hexdigit()))?.to_string();
    let file = |entry: &serde_json::Value| {
        let name = entry.get("rfilename")?.as_str()?;
        // Names that would lead out of the snapshot's folder are nobody's model files.
        name.split('/')
            .all(|part| plain(part).is_some())
            .then(|| RemoteFile { name: name.to_string(), size: entry.get("size").and_then(serde_json::Value::as_u64) })
    };
    let files = json.get("siblings")?.as_array()?.iter().filter_map(file).collect();
    plain(&commit)?;
    Some(Listing { commit, files })
}

fn announced(headers: &HeaderMap) -> Option<Announced> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let etag = text("x-linked-etag").or_else(|| text("etag"))?;
    let etag = etag.trim_start_matches("W/").trim_matches('"');
    let fits =
        (1..=128).contains(&etag.len()) && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let size = text("x-linked-size").or_else(|| text("content-length"))?.parse().ok();
    fits.then(|| Announced { etag: etag.to_string(), size })
}

/// Where `headers` of the answer from `at` lead.
fn redirected(at: &str, headers: &HeaderMap) -> Option<String> {
    let to = headers.get("location")?.to_str().ok()?;
    if to.starts_with("http://") || to.starts_with("https://") {
        return Some(to.to_string());
    }
    let uri: Uri = at.parse().ok()?;
    to.starts_with('/').then(|| Some(format!("{}://{}{to}", uri.scheme_str()?, uri.authority()?)))?
}

fn same_host(a: &str, b: &str) -> bool {
    let host = |url: &str| url.parse::<Uri>().ok().and_then(|u| u.authority().map(ToString::to_string));
    host(a).is_some() && host(a) == host(b)
}
