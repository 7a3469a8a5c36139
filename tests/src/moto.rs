//! A second S3 implementation: moto's server, as a process of its own on the loopback.
//!
//! It has versioning and object lock, and accepts any signature and any checksum: what must be refused is tested
//! against [`crate::s3`]. Its requests are made to follow one another, because it looks before it creates and has
//! several threads.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::s3::{BUCKET, REGION, SECRET_KEY, credentials};
use crate::tool::{search_path, target_dir};

/// Runs moto's server on a port that the system chooses, one request at a time.
const LAUNCHER: &str = "
import os, sys, threading
from moto import server
turn, serve = threading.Lock(), server.run_simple
refusing = sys.argv.pop()
def one_at_a_time(host, port, app, **options):
    def in_turn(environment, start):
        is_lock = environment['REQUEST_METHOD'] == 'PUT' and environment['QUERY_STRING'].startswith('retention')
        if is_lock and os.path.exists(refusing):
            start('403 Forbidden', [('Content-Type', 'application/xml')])
            return [b'<Error><Code>AccessDenied</Code><Message>no PutObjectRetention</Message></Error>']
        with turn:
            return app(environment, start)
    serve(host, port, in_turn, **options)
server.run_simple = one_at_a_time
server.main(['-H', '127.0.0.1', '-p', '0'])
";

const REFUSING: &str = "refuse-locks";

/// A signature that nobody checks; without any, one has no rights.
const SOMEBODY: &str = "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request, \
                        SignedHeaders=host, Signature=0000";

/// Python with moto installed.
///
/// # Panics
/// If `./test` has not installed it.
pub fn python() -> PathBuf {
    let path = target_dir().join("moto/bin/python3");
    assert!(path.exists(), "{} is missing: run ./test once, which installs moto there", path.display());
    path
}

/// A running server with one empty bucket; ended when dropped.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    port: u16,
    /// While it holds a file of this name, the server refuses to set locks.
    room: TempDir,
}

impl Moto {
    /// Starts the server and makes the bucket.
    ///
    /// # Panics
    /// If it does not answer within a minute.
    pub fn start() -> Self {
        Self::with_bucket("")
    }

    /// The same, with a bucket that has object lock, and therefore versions.
    ///
    /// # Panics
    /// As [`Moto::start`].
    pub fn with_object_lock() -> Self {
        Self::with_bucket("x-amz-bucket-object-lock-enabled: true\r\n")
    }

    fn with_bucket(headers: &str) -> Self {
        let room = tempfile::tempdir().expect("create a temporary directory");
        let mut process = Command::new(python())
            .args(["-c", LAUNCHER])
            .arg(room.path().join(REFUSING))
            .env("PATH", search_path())
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start moto's server");
        let log = process.stderr.take().expect("its log is piped");
        let mut this = Self { process, port: 0, room };
        this.port = announced_port(log);
        let answer = this.request("PUT", "", headers, "");
        assert!(answer.contains(" 200 "), "moto makes a bucket: {answer}");
        this
    }

    /// From now on the server refuses to set locks, as under a policy without `s3:PutObjectRetention`.
    ///
    /// # Panics
    /// If it cannot be told.
    pub fn refuse_locks(&self) {
        std::fs::write(self.room.path().join(REFUSING), "").expect("tell the server");
    }

    /// Undoes [`Moto::refuse_locks`].
    ///
    /// # Panics
    /// If it was not refusing.
    pub fn allow_locks(&self) {
        std::fs::remove_file(self.room.path().join(REFUSING)).expect("tell the server");
    }

    /// The address of a vault below `prefix`, as `--vault` takes it.
    pub fn replica(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&region={REGION}", self.endpoint())
    }

    /// `http://127.0.0.1:<port>`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An environment with credentials; any will do.
    pub fn env(&self) -> Vec<(String, String)> {
        credentials(SECRET_KEY)
    }

    /// Sends one request past any client of ours, as somebody with all rights, and returns the whole answer. `target` is
    /// below the bucket, `headers` are lines with their ends.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn request(&self, method: &str, target: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect to moto's server");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set a deadline");
        let (port, length) = (self.port, body.len());
        let request = format!(
            "{method} /{BUCKET}{target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n\
             Connection: close\r\nAuthorization: {SOMEBODY}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("ask moto");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read moto's answer");
        answer
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The port in the line that the server prints when it listens. A thread goes on reading, so that the server never
/// waits for someone to read its log.
fn announced_port(log: impl Read + Send + 'static) -> u16 {
    let (found, wait) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let port = line
                .split_once("Running on http://127.0.0.1:")
                .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
            if let Some(Ok(port)) = port.map(|port| port.parse::<u16>()) {
                // The receiver is gone only if it gave up waiting.
                let _ = found.send(port);
            }
        }
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("moto's server listens within a minute")
}
