//! Object lock over the S3 protocol: the calls that opendal lacks, signed by the crates that sign opendal's own, sent
//! through the same client.

use std::error::Error as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use md5::{Digest as _, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqsign_aws_v4::{Credential, RequestSigner, StaticCredentialProvider};
use reqsign_core::{Context, Signer};
use reqwest::{Client, Response};

use crate::error::{Error, Kind, Result};
use crate::id::to_hex;
use crate::suite::sha256;

use super::super::lock::{LockSupport, Retention};
use super::failure;

/// What a part of a path or a query keeps as it is.
const DATA: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &DATA.remove(b'/');

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";

const NO_LOCK_IN_BUCKET: LockSupport = LockSupport::Missing(
    "the bucket was made without object lock; docs/object-lock.md says how to make one with it",
);
const NO_LOCK_IN_SERVER: LockSupport = LockSupport::Missing("the server does not know object lock");

/// Where a bucket is, and what its requests are signed with.
pub(super) struct Bucket<'a> {
    /// Its URL, in the form in which its server wants it, without a slash at the end.
    pub(super) url: String,
    /// The directory in it, beginning with a slash.
    pub(super) root: &'a str,
    pub(super) region: &'a str,
    pub(super) key_id: &'a str,
    pub(super) secret: &'a str,
    pub(super) session: Option<&'a str>,
}

/// The calls, on one bucket.
pub(super) struct Retentions {
    client: Client,
    signer: Signer<Credential>,
    url: String,
    root: String,
}

impl Retentions {
    pub(super) fn new(client: Client, bucket: Bucket<'_>) -> Self {
        let mut keys = StaticCredentialProvider::new(bucket.key_id, bucket.secret);
        if let Some(session) = bucket.session {
            keys = keys.with_session_token(session);
        }
        // The context is empty: nothing is looked up in files, the environment or the network.
        let signer = Signer::new(Context::new(), keys, RequestSigner::new("s3", bucket.region));
        Self { client, signer, url: bucket.url, root: bucket.root.trim_end_matches('/').to_owned() }
    }

    /// Whether the bucket has object lock.
    pub(super) async fn support(&self, what: &str) -> Result<LockSupport> {
        let answer = self.ask(what, Method::GET, &format!("{}?object-lock=", self.url), None).await;
        let mut answer = match answer {
            Err(error) => return lack(&error).ok_or(error),
            Ok(answer) => answer,
        };
        let text = text_of(what, &mut answer).await?;
        let enabled = text.contains("<ObjectLockEnabled>Enabled</ObjectLockEnabled>");
        Ok(if enabled { LockSupport::Ready } else { NO_LOCK_IN_BUCKET })
    }

    /// The lock of a version, or of the newest one; none if it has none or these credentials may not know.
    pub(super) async fn get(
        &self,
        what: &str,
        path: &str,
        version: Option<&str>,
    ) -> Result<Option<Retention>> {
        let url = self.object(path, &version.map(version_query).unwrap_or_default());
        let answer = self.ask(what, Method::HEAD, &url, None).await?;
        match (header(answer.headers(), MODE), header(answer.headers(), UNTIL)) {
            (Some(mode), Some(until)) => Retention::from_headers(mode, until)
                .map(Some)
                .map_err(|error| error.context(format!("{what}: the answer makes no sense"))),
            _ => Ok(None),
        }
    }

    /// Sets the lock of a version, or of the newest one. A server refuses to shorten one.
    pub(super) async fn set(
        &self,
        what: &str,
        path: &str,
        version: Option<&str>,
        lock: &Retention,
    ) -> Result<()> {
        let version = version.map(|version| format!("&{}", version_query(version))).unwrap_or_default();
        let url = self.object(path, &format!("retention={version}"));
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{}</RetainUntilDate></Retention>",
            lock.mode.word(),
            lock.until_text()?
        );
        self.ask(what, Method::PUT, &url, Some(body.into())).await.map(drop)
    }

    fn object(&self, path: &str, query: &str) -> String {
        let (root, path) = (utf8_percent_encode(&self.root, PATH), utf8_percent_encode(path, PATH));
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{root}/{path}{mark}{query}", self.url)
    }

    /// Sends one request and gives its answer if it is a success.
    async fn ask(&self, what: &str, method: Method, url: &str, body: Option<Bytes>) -> Result<Response> {
        let request = self.signed(method, url, body.unwrap_or_default()).await.map_err(|cause| {
            Error::new(Kind::Input, format!("{what}: the address or its settings are wrong")).because(cause)
        })?;
        let mut answer =
            self.client.execute(request).await.map_err(|error| failure::unsent(what, &causes(&error)))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let text = text_of(what, &mut answer).await.unwrap_or_default();
        Err(failure::answered(what, status, &text))
    }

    async fn signed(
        &self,
        method: Method,
        url: &str,
        body: Bytes,
    ) -> std::result::Result<reqwest::Request, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(url)
            .header("x-amz-content-sha256", to_hex(&sha256(&[&body])));
        if !body.is_empty() {
            // Asked for by every server for this call; a checksum against the line, not against people.
            request = request.header("content-md5", STANDARD.encode(Md5::digest(&body)));
        }
        let (mut parts, body) = request.body(body)?.into_parts();
        self.signer.sign(&mut parts, None).await?;
        // The client sets it, and twice is once too often for some servers.
        parts.headers.remove(http::header::HOST);
        Ok(http::Request::from_parts(parts, body).try_into()?)
    }
}

/// What is missing, if the error says that object lock is.
fn lack(error: &Error) -> Option<LockSupport> {
    let says = |text: &str| error.source().is_some_and(|source| source.to_string().contains(text));
    if says("ObjectLockConfigurationNotFound") {
        return Some(NO_LOCK_IN_BUCKET);
    }
    let unknown = error.kind() == Kind::Unsupported || says("NotImplemented") || says("MethodNotAllowed");
    unknown.then_some(NO_LOCK_IN_SERVER)
}

fn version_query(version: &str) -> String {
    format!("versionId={}", utf8_percent_encode(version, DATA))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

/// The beginning of an answer; a length that a server announces is not believed before it came.
async fn text_of(what: &str, answer: &mut Response) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| failure::unsent(what, &causes(&error)))? {
        bytes.extend_from_slice(&piece[..piece.len().min(ANSWER_BYTES_MAX - bytes.len())]);
        if bytes.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The error and its causes in one line, without the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut text = "send http request".to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
