//! An S3 server in this process, over loopback: `s3s` with `s3s-fs`, behind an accept loop of our own.
//!
//! It checks signatures and checksums. Around three faults of `s3s-fs` 0.14.1 stands this loop: TCP_NODELAY is set
//! (else every GET waits 40 ms), an empty `delimiter=` is dropped (else a listing shows nothing), and
//! requests with `If-None-Match` follow one another (else two creates of one key can both succeed, because it looks
//! first and renames later).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderValue, IF_NONE_MATCH};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::access::S3Access;
use s3s::auth::SimpleAuth;
use s3s::dto::{ListObjectsInput, ListObjectsV2Input};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Request, S3Result};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::fault::{Fault, Faults, Target};
use crate::traffic::{Traffic, Upload};

/// The one access key that the server knows.
pub const ACCESS_KEY: &str = "SHUDAOTESTACCESSKEY0";
/// Its secret, found nowhere else, so that a test can look for it in outputs.
pub const SECRET_KEY: &str = "s3-secret-plum-harbour-violin-0123456789";
/// The one bucket.
pub const BUCKET: &str = "test-bucket";
/// The region that requests are signed for.
pub const REGION: &str = "us-east-1";

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    faults: Arc<Faults>,
    traffic: Arc<Traffic>,
    ignores_conditions: Arc<AtomicBool>,
    root: TempDir,
    runtime: Option<Runtime>,
}

impl S3Server {
    /// Starts a server with one empty bucket on a free port of the loopback.
    ///
    /// # Panics
    /// If it cannot.
    pub fn start() -> Self {
        let root = TempDir::with_prefix("shudao-s3-").expect("create the server's directory");
        std::fs::create_dir(root.path().join(BUCKET)).expect("create a bucket");
        let mut builder =
            S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).expect("open the directory"));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        builder.set_access(EmptyDelimiterIsNone);
        let faults = Arc::new(Faults::default());
        let traffic = Arc::new(Traffic::default());
        let ignores_conditions = Arc::new(AtomicBool::new(false));
        let door = Arc::new(Door {
            service: builder.build(),
            faults: faults.clone(),
            traffic: traffic.clone(),
            creating: tokio::sync::Mutex::new(()),
            ignores_conditions: ignores_conditions.clone(),
            root: root.path().to_owned(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("start the server's threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("bind to the loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        runtime.spawn(accept(listener, door));
        Self { address, faults, traffic, ignores_conditions, root, runtime: Some(runtime) }
    }

    /// The address of a vault below `prefix`, as `--vault` takes it.
    pub fn replica(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&region={REGION}", self.endpoint())
    }

    /// `http://127.0.0.1:<port>`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The environment with the right credentials.
    pub fn env(&self) -> Vec<(String, String)> {
        credentials(SECRET_KEY)
    }

    /// The next `count` requests that `target` describes meet `fault`.
    pub fn plan(&self, target: &Target, fault: Fault, count: usize) {
        self.faults.plan(target, fault, count);
    }

    /// From now on every upload takes the place of what is there, whatever its sender asked, as some products do.
    pub fn ignore_conditions(&self) {
        self.ignores_conditions.store(true, Ordering::Relaxed);
    }

    /// Plans no fault any more.
    pub fn forgive(&self) {
        self.faults.forgive();
    }

    /// Faults to come, and requests so far.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What was uploaded so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Where an object with this key lies as a plain file.
    pub fn file(&self, key: &str) -> PathBuf {
        self.bucket_dir().join(key)
    }

    /// The bucket's directory.
    pub fn bucket_dir(&self) -> PathBuf {
        Path::new(self.root.path()).join(BUCKET)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The environment that gives `shudao` our access key with `secret`.
pub fn credentials(secret: &str) -> Vec<(String, String)> {
    [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", secret), ("AWS_REGION", REGION)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// What stands between the socket and the S3 service.
struct Door {
    service: S3Service,
    faults: Arc<Faults>,
    traffic: Arc<Traffic>,
    creating: tokio::sync::Mutex<()>,
    ignores_conditions: Arc<AtomicBool>,
    root: PathBuf,
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let door = door.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| door.answer(request));
            // A client that closes its connection early is no fault of the server's.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> std::io::Result<Response<s3s::Body>> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let fault = self.faults.meet(request.method().as_str(), &path);
        match fault {
            Some(Fault::Unavailable) => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
            Some(Fault::HangUp) => return Err(std::io::Error::other("planned")),
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::LostAnswer | Fault::HalfBody | Fault::FlippedBit) | None => {}
        }
        let upload = Upload::announced(&request);
        if let Some(upload) = &upload {
            self.traffic.begins(upload);
        }
        let creating = request.headers().contains_key(IF_NONE_MATCH);
        let turn = if creating { Some(self.creating.lock().await) } else { None };
        if creating && self.ignores_conditions.load(Ordering::Relaxed) {
            // The signature covers the condition, so it stays; what it asks about goes.
            let _ = std::fs::remove_file(self.root.join(request.uri().path().trim_start_matches('/')));
        }
        let served = hyper::service::Service::call(&self.service, request).await;
        drop(turn);
        let Ok(response) = served else {
            return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"));
        };
        if let Some(upload) = upload.filter(|_| response.status().is_success()) {
            self.traffic.is_stored(upload);
        }
        Ok(match fault {
            Some(Fault::LostAnswer) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Some(Fault::HalfBody) => spoil(response, Spoiling::Half).await,
            Some(Fault::FlippedBit) => spoil(response, Spoiling::Flip).await,
            Some(Fault::Unavailable | Fault::HangUp | Fault::Delay(_)) | None => response,
        })
    }
}

/// An answer as S3 words its errors.
fn refusal(status: StatusCode, code: &str) -> Response<s3s::Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>planned</Message></Error>"
    );
    let mut response = Response::new(s3s::Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/xml"));
    response
}

/// `s3s-fs` takes an empty delimiter for one that every key contains; S3 takes it for none. This runs after the
/// signature was checked, which covers the request as it was sent.
struct EmptyDelimiterIsNone;

#[async_trait]
impl S3Access for EmptyDelimiterIsNone {
    async fn list_objects(&self, request: &mut S3Request<ListObjectsInput>) -> S3Result<()> {
        request.input.delimiter.take_if(|delimiter| delimiter.is_empty());
        Ok(())
    }

    async fn list_objects_v2(&self, request: &mut S3Request<ListObjectsV2Input>) -> S3Result<()> {
        request.input.delimiter.take_if(|delimiter| delimiter.is_empty());
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoiling {
    Half,
    Flip,
}

/// The same answer with a body that is not what its headers announce. An empty body stays as it is.
async fn spoil(response: Response<s3s::Body>, how: Spoiling) -> Response<s3s::Body> {
    let (mut head, body) = response.into_parts();
    let Ok(collected) = BodyExt::collect(body).await else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    };
    let mut bytes = collected.to_bytes().to_vec();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let middle = bytes.len() / 2;
    if how == Spoiling::Flip {
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        return Response::from_parts(head, s3s::Body::from(bytes));
    }
    let half = Frame::data(Bytes::from(bytes).slice(..middle));
    let end = async {
        // The half must leave before the connection breaks, or the client sees no answer at all.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "planned"))
    };
    let frames = stream::once(async { Ok(half) }).chain(stream::once(end));
    Response::from_parts(head, s3s::Body::http_body_unsync(StreamBody::new(frames)))
}
