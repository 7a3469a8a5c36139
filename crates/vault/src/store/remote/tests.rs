//! What goes over the wire, against a server on loopback that plays a script: one request a connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::lock::{LockMode, LockSupport, Retention};
use super::super::{Address, Capabilities, Creation, RetryPolicy, Store, StoreOptions, Timeouts};
use crate::error::Kind;
use crate::id::Timestamp;

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Answer {
    /// Status, extra headers, body. A HEAD gets the body's length alone.
    Reply(u16, &'static str, &'static str),
    /// Close the connection without a word.
    HangUp,
    /// Say nothing until the client gives up.
    Silence,
}
use Answer::{HangUp, Reply, Silence};

type Heads = Arc<Mutex<Vec<String>>>;

const NO_SUCH_KEY: &str = "<Error><Code>NoSuchKey</Code></Error>";

/// A store whose server plays `answers`, and the heads of the requests it got.
async fn scripted(answers: &[Answer], create_if_absent: bool) -> (Store, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let (answers, log) = (answers.to_vec(), Arc::clone(&heads));
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            play(stream, answer, &log).await;
        }
    });
    let address = Address::parse(&format!("s3://bucket/prefix?endpoint=http://127.0.0.1:{port}")).unwrap();
    let options = StoreOptions {
        credentials: [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        retry: RetryPolicy { attempts_max: 3, pause_first: Duration::ZERO, pause_max: Duration::ZERO },
        timeouts: Timeouts { answer: Duration::from_secs(20), ..Timeouts::default() },
        ..StoreOptions::default()
    };
    let store = Store::open(&address, &options).await.unwrap();
    store.assume(Capabilities { create_if_absent });
    (store, heads)
}

async fn play(mut stream: TcpStream, answer: Answer, log: &Heads) {
    let head = request(&mut stream).await;
    let is_head = head.starts_with("HEAD");
    log.lock().unwrap().push(head);
    match answer {
        HangUp => {}
        Silence => {
            let _ = stream.read(&mut [0]).await;
        }
        Reply(status, headers, body) => {
            let text = format!(
                "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{}",
                body.len(),
                if is_head { "" } else { body },
            );
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    }
}

/// The head of one request, its body read and dropped.
async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "a request ends");
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().replace("\r\n", "\n");
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while bytes.len() < end + 4 + length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "a body ends");
    }
    head
}

fn methods(heads: &Heads) -> String {
    let heads = heads.lock().unwrap();
    heads.iter().map(|head| head.split(' ').next().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn an_object_is_sent_once_under_the_condition_and_with_its_checksum() {
    let (store, heads) = scripted(&[Reply(200, "etag: \"e\"\r\n", "")], true).await;
    assert_eq!(store.create("log/7", Bytes::from_static(b"entry")).await.unwrap(), Creation::New);
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("PUT /bucket/prefix/log/7 HTTP/1.1"), "{head}");
    for line in
        ["if-none-match: *", "x-amz-checksum-crc32c: ", "authorization: AWS4-HMAC-SHA256 Credential=id/"]
    {
        assert!(head.contains(line), "{line} in {head}");
    }
}

#[tokio::test]
async fn without_create_if_absent_it_looks_and_sets_no_condition() {
    let (store, heads) = scripted(&[Reply(404, "", ""), Reply(200, "", "")], false).await;
    assert_eq!(store.create("log/7", Bytes::from_static(b"entry")).await.unwrap(), Creation::New);
    assert_eq!(methods(&heads), "HEAD PUT");
    assert!(!heads.lock().unwrap()[1].contains("if-none-match"));
    let (store, heads) = scripted(&[Reply(200, "", "other")], false).await;
    assert_eq!(store.create("log/7", Bytes::from_static(b"entry")).await.unwrap(), Creation::Exists);
    assert_eq!(methods(&heads), "HEAD");
}

#[tokio::test]
async fn an_unanswered_creation_is_told_from_another_clients_by_its_bytes() {
    let table: [(&[Answer], Creation, &str); 6] = [
        // The first attempt arrived.
        (
            &[HangUp, Reply(200, "", "entry"), Reply(200, "", "entry"), Reply(200, "", "entry")],
            Creation::New,
            "PUT HEAD HEAD GET",
        ),
        // Another client's object of the same size, and of another one.
        (
            &[HangUp, Reply(200, "", "other"), Reply(200, "", "other"), Reply(200, "", "other")],
            Creation::Exists,
            "PUT HEAD HEAD GET",
        ),
        (&[HangUp, Reply(200, "", "longer"), Reply(200, "", "longer")], Creation::Exists, "PUT HEAD HEAD"),
        // Nothing arrived.
        (&[HangUp, Reply(404, "", ""), Reply(200, "", "")], Creation::New, "PUT HEAD PUT"),
        (
            &[Reply(503, "", "<Error><Code>SlowDown</Code></Error>"), Reply(404, "", ""), Reply(200, "", "")],
            Creation::New,
            "PUT HEAD PUT",
        ),
        // Nothing had arrived at the look, and the late one is there at the second attempt.
        (
            &[
                HangUp,
                Reply(404, "", ""),
                Reply(412, "", "<Error><Code>PreconditionFailed</Code></Error>"),
                Reply(200, "", "entry"),
                Reply(200, "", "entry"),
            ],
            Creation::New,
            "PUT HEAD PUT HEAD GET",
        ),
    ];
    for (answers, expected, requests) in table {
        let (store, heads) = scripted(answers, true).await;
        assert_eq!(
            store.create("log/7", Bytes::from_static(b"entry")).await.unwrap(),
            expected,
            "{requests}"
        );
        assert_eq!(methods(&heads), requests);
        assert_eq!(store.usage().retries, 1);
    }
}

#[tokio::test]
async fn an_object_that_was_there_before_is_not_asked_whose_it_is() {
    let (store, heads) =
        scripted(&[Reply(412, "", "<Error><Code>PreconditionFailed</Code></Error>")], true).await;
    assert_eq!(store.create("log/7", Bytes::from_static(b"entry")).await.unwrap(), Creation::Exists);
    assert_eq!(methods(&heads), "PUT");
}

#[tokio::test]
async fn what_trying_again_cannot_mend_is_tried_once() {
    let table = [
        (Reply(404, "", NO_SUCH_KEY), Kind::Missing),
        (Reply(404, "", "<Error><Code>NoSuchBucket</Code></Error>"), Kind::NoVault),
        (Reply(403, "", "<Error><Code>AccessDenied</Code></Error>"), Kind::Denied),
        (Reply(403, "", "<Error><Code>SignatureDoesNotMatch</Code></Error>"), Kind::Denied),
        (Reply(507, "", ""), Kind::Full),
    ];
    for (answer, kind) in table {
        let (store, heads) = scripted(&[answer], true).await;
        let error = store.read("vault.json").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with("read vault.json at s3://bucket/prefix?endpoint="), "{error}");
        assert_eq!(methods(&heads), "GET");
    }
}

#[tokio::test]
async fn a_full_store_is_said_and_not_tried_again() {
    let (store, heads) = scripted(&[Reply(403, "", "<Error><Code>QuotaExceeded</Code></Error>")], true).await;
    let error = store.create("packs/00/x", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Full);
    assert_eq!(methods(&heads), "PUT");
}

#[tokio::test]
async fn a_range_beyond_the_end_is_damage_and_a_broken_line_is_not() {
    let short = Reply(206, "content-range: bytes 4-6/7\r\n", "456");
    let (store, heads) = scripted(&[short, Reply(200, "", "0123456")], true).await;
    let error = store.read_range("packs/00/x", 4, 10).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.to_string().contains("ends at 7"), "{error}");
    assert_eq!(methods(&heads), "GET HEAD");
    assert!(heads.lock().unwrap()[0].contains("range: bytes=4-13"));
    let (store, heads) = scripted(
        &[HangUp, Reply(200, "", "0123456"), Reply(206, "content-range: bytes 4-6/7\r\n", "456")],
        true,
    )
    .await;
    assert_eq!(store.read_range("packs/00/x", 4, 3).await.unwrap(), "456");
    assert_eq!(methods(&heads), "GET HEAD GET");
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_never_believed() {
    let whole = Reply(200, "", "0123456789");
    let (store, _) = scripted(&[whole; 6], true).await;
    assert!(store.read_range("packs/00/x", 4, 3).await.is_err());
}

#[tokio::test]
async fn a_silent_server_is_unavailable_when_the_time_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { play(stream, Silence, &Heads::default()).await });
        }
    });
    let address = Address::parse(&format!("webdav://127.0.0.1:{port}/dav")).unwrap();
    let options = StoreOptions {
        retry: RetryPolicy { attempts_max: 2, pause_first: Duration::ZERO, pause_max: Duration::ZERO },
        timeouts: Timeouts { answer: Duration::from_millis(20), ..Timeouts::default() },
        ..StoreOptions::default()
    };
    let store = Store::open(&address, &options).await.unwrap();
    let error = store.size("log/7").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(
        error.to_string().contains("no answer within") && error.to_string().contains("tried 2 times"),
        "{error}"
    );
}

const LOCKED: &str =
    "x-amz-object-lock-mode: GOVERNANCE\r\nx-amz-object-lock-retain-until-date: 2030-01-01T00:00:00Z\r\n";
const NO_RIGHT: Answer = Reply(403, "", "<Error><Code>AccessDenied</Code></Error>");

/// A lock until the first moment of 2030.
fn wanted(mode: LockMode) -> Retention {
    Retention { mode, until: Timestamp(1_893_456_000_000_000) }
}

#[tokio::test]
async fn a_lock_is_set_on_the_newest_version_where_the_others_may_not_be_listed_and_read_back() {
    let (store, heads) =
        scripted(&[NO_RIGHT, Reply(200, "", "x"), Reply(200, "", ""), Reply(200, LOCKED, "x")], true).await;
    store.lock_until("packs/00/x", wanted(LockMode::Governance)).await.unwrap();
    assert_eq!(methods(&heads), "GET HEAD PUT HEAD");
    let head = heads.lock().unwrap()[2].clone();
    assert!(head.starts_with("PUT /bucket/prefix/packs/00/x?retention= HTTP/1.1"), "{head}");
    for line in ["content-md5: ", "x-amz-content-sha256: ", "authorization: AWS4-HMAC-SHA256 Credential=id/"]
    {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert_eq!(head.matches("\nhost: ").count(), 1);
    assert_eq!(store.usage().locks, 3);
}

#[tokio::test]
async fn a_store_that_acknowledges_a_lock_and_does_not_show_it_is_not_believed() {
    for shown in ["", LOCKED] {
        let answers = [NO_RIGHT, Reply(200, "", "x"), Reply(200, "", ""), Reply(200, shown, "x")];
        let (store, _) = scripted(&answers, true).await;
        let error = store.lock_until("packs/00/x", wanted(LockMode::Compliance)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{shown}");
        assert!(error.to_string().contains("s3:GetObjectRetention"), "{error}");
    }
}

#[tokio::test]
async fn a_lock_that_holds_already_is_left_alone() {
    let (store, heads) = scripted(&[NO_RIGHT, Reply(200, LOCKED, "x")], true).await;
    store.lock_until("packs/00/x", wanted(LockMode::Governance)).await.unwrap();
    assert_eq!(methods(&heads), "GET HEAD");
}

#[tokio::test]
async fn a_lock_call_that_is_refused_for_now_is_made_again_and_one_without_the_right_is_not() {
    let (store, heads) =
        scripted(&[NO_RIGHT, Reply(200, "", "x"), HangUp, Reply(200, "", ""), Reply(200, LOCKED, "x")], true)
            .await;
    store.lock_until("packs/00/x", wanted(LockMode::Governance)).await.unwrap();
    assert_eq!(methods(&heads), "GET HEAD PUT PUT HEAD");
    let (store, heads) = scripted(&[NO_RIGHT, Reply(200, "", "x"), NO_RIGHT], true).await;
    let error = store.lock_until("packs/00/x", wanted(LockMode::Governance)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().starts_with("lock packs/00/x at s3://bucket/prefix?endpoint="), "{error}");
    assert_eq!(methods(&heads), "GET HEAD PUT");
}

#[tokio::test]
async fn a_server_without_object_lock_is_told_from_one_that_fails() {
    let table = [
        (Reply(200, "", "<O><ObjectLockEnabled>Enabled</ObjectLockEnabled></O>"), Some(true)),
        (Reply(200, "", "<O></O>"), Some(false)),
        (Reply(404, "", "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"), Some(false)),
        (Reply(501, "", "<Error><Code>NotImplemented</Code></Error>"), Some(false)),
        (Reply(404, "", "<Error><Code>NoSuchBucket</Code></Error>"), None),
        (NO_RIGHT, None),
    ];
    for (answer, expected) in table {
        let (store, heads) = scripted(&[answer], true).await;
        let support = store.lock_support().await.ok();
        assert_eq!(support.map(|support| support == LockSupport::Ready), expected);
        assert!(heads.lock().unwrap()[0].starts_with("GET /bucket?object-lock= "));
    }
}
