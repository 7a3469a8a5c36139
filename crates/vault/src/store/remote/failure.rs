//! What an error of opendal means for the caller.
//!
//! opendal keeps the server's error code in its text only, so the text is searched; what it says beyond that (the
//! whole response) is left out of what people read.

use std::error::Error as _;

use opendal::ErrorKind;

use crate::error::{Error, Kind};

/// The error of `what` ("read x at s3://bucket"), with its kind and a sentence that says what to do.
pub(super) fn failed(what: &str, error: &opendal::Error) -> Error {
    let text = describe(error);
    let status = status(&error.to_string());
    let (kind, sentence) = meaning(error.kind(), error.is_temporary(), status, &text);
    Error::new(kind, format!("{what}: {sentence}")).because(text)
}

/// The error of `what` for an answer that did not come through opendal: its status and the beginning of its text.
pub(super) fn answered(what: &str, status: u16, text: &str) -> Error {
    let kind = match status {
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        _ => ErrorKind::Unexpected,
    };
    let (kind, sentence) = meaning(kind, status >= 500, Some(status), text);
    Error::new(kind, format!("{what}: {sentence}")).because(format!("{status} {text}"))
}

/// The error of `what` for a request that got no answer, because of `causes`.
pub(super) fn unsent(what: &str, causes: &str) -> Error {
    let (kind, sentence) = meaning(ErrorKind::Unexpected, true, None, causes);
    Error::new(kind, format!("{what}: {sentence}")).because(causes)
}

/// The message and the causes in one line, without the response's headers.
pub(super) fn describe(error: &opendal::Error) -> String {
    let mut text = error.message().to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// The status of the response that opendal attached to its error, if one came.
fn status(shown: &str) -> Option<u16> {
    let (_, rest) = shown.split_once("response: Parts { status: ")?;
    rest.get(..3)?.parse().ok()
}

/// Codes of servers that mean something else than their status or opendal's kind, in the order of looking.
const CODES: [(&[&str], Kind, &str); 7] = [
    (
        &["NoSuchBucket", "NoSuchContainer"],
        Kind::NoVault,
        "there is no such bucket; make it first, or mend the address",
    ),
    (
        &["QuotaExceeded", "StorageFull", "XMinioStorageFull", "InsufficientCapacity", "NoSpace"],
        Kind::Full,
        "no room is left in the store",
    ),
    (
        &["RequestTimeTooSkewed"],
        Kind::Denied,
        "this machine's clock and the store's differ too much; set the clock",
    ),
    (
        &["ExpiredToken", "TokenRefreshRequired", "InvalidToken"],
        Kind::Denied,
        "the session token is no longer valid; get a new one",
    ),
    (
        &["SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthorizationHeaderMalformed"],
        Kind::Denied,
        "the store does not accept the access key, the secret or the region",
    ),
    (
        &["BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody"],
        Kind::Unavailable,
        "the bytes arrived altered; a fault on the way",
    ),
    (
        &["invalid peer certificate"],
        Kind::Denied,
        "the server's certificate is not trusted; AWS_CA_BUNDLE names the file of the authority that issued it",
    ),
];

const NOT_ALLOWED: &str = "the store refuses: these credentials have no right to do this";
const UNREACHABLE: &str = "the store did not answer or refused for now";

fn meaning(kind: ErrorKind, temporary: bool, status: Option<u16>, text: &str) -> (Kind, &'static str) {
    for (codes, kind, sentence) in CODES {
        if codes.iter().any(|code| text.contains(code)) {
            return (kind, sentence);
        }
    }
    match (kind, status) {
        (_, Some(507)) => (Kind::Full, "no room is left in the store"),
        (_, Some(501)) => (Kind::Unsupported, "the store does not know this kind of request"),
        // Some WebDAV servers answer 403 for a locked file, so opendal calls it temporary; a wrong right is likelier.
        (ErrorKind::PermissionDenied, _) | (_, Some(401 | 403)) => (Kind::Denied, NOT_ALLOWED),
        (ErrorKind::NotFound, _) => (Kind::Missing, "the object is not there"),
        (ErrorKind::RangeNotSatisfied, _) => {
            (Kind::Damaged, "the object ends before the range that was needed")
        }
        (ErrorKind::Unsupported, _) => (Kind::Unsupported, "this kind of store cannot do it"),
        (ErrorKind::ConfigInvalid, _) => (Kind::Input, "the address or its settings are wrong"),
        (ErrorKind::RateLimited, _) | (_, Some(408 | 425 | 429)) => {
            (Kind::Unavailable, "the store asks to slow down")
        }
        (ErrorKind::Conflict, _) if !temporary => {
            (Kind::Conflict, "the store says that something else is in the way")
        }
        _ if temporary => (Kind::Unavailable, UNREACHABLE),
        (_, Some(413)) => (Kind::Input, "the object is larger than the store or a proxy before it allows"),
        (_, Some(400..=499)) => (Kind::Denied, "the store refuses the request"),
        _ => (Kind::Unavailable, UNREACHABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_store_tells_the_caller_what_to_do() {
        use ErrorKind::{
            ConfigInvalid, Conflict, NotFound, PermissionDenied, RangeNotSatisfied, RateLimited, Unexpected,
        };
        let table = [
            (NotFound, false, Some(404), "S3Error { code: \"NoSuchKey\"", Kind::Missing),
            (NotFound, false, Some(404), "", Kind::Missing),
            (ConfigInvalid, false, Some(404), "S3Error { code: \"NoSuchBucket\"", Kind::NoVault),
            (NotFound, false, Some(404), "OssError { code: \"NoSuchBucket\"", Kind::NoVault),
            (PermissionDenied, false, Some(403), "S3Error { code: \"AccessDenied\"", Kind::Denied),
            (PermissionDenied, false, Some(403), "code: \"SignatureDoesNotMatch\"", Kind::Denied),
            (PermissionDenied, false, Some(403), "code: \"QuotaExceeded\"", Kind::Full),
            (PermissionDenied, true, Some(403), "locked", Kind::Denied),
            (Unexpected, false, Some(400), "code: \"ExpiredToken\"", Kind::Denied),
            (Unexpected, false, Some(400), "code: \"BadDigest\"", Kind::Unavailable),
            (Unexpected, false, Some(400), "code: \"InvalidRequest\"", Kind::Denied),
            (Unexpected, false, Some(401), "", Kind::Denied),
            (Unexpected, false, Some(429), "", Kind::Unavailable),
            (RateLimited, true, Some(503), "code: \"SlowDown\"", Kind::Unavailable),
            (Unexpected, true, Some(500), "", Kind::Unavailable),
            (Unexpected, true, Some(503), "", Kind::Unavailable),
            (Unexpected, false, Some(501), "code: \"NotImplemented\"", Kind::Unsupported),
            (Unexpected, false, Some(507), "", Kind::Full),
            (Conflict, true, Some(409), "code: \"ConditionalRequestConflict\"", Kind::Unavailable),
            (Conflict, false, Some(409), "code: \"ObjectLocked\"", Kind::Conflict),
            (RangeNotSatisfied, false, Some(416), "", Kind::Damaged),
            (
                Unexpected,
                true,
                None,
                "send http request: tcp connect error: Connection refused",
                Kind::Unavailable,
            ),
            (
                Unexpected,
                true,
                None,
                "send http request: invalid peer certificate: UnknownIssuer",
                Kind::Denied,
            ),
            (Unexpected, false, None, "something new", Kind::Unavailable),
        ];
        for (kind, temporary, status, text, expected) in table {
            let (got, sentence) = meaning(kind, temporary, status, text);
            assert_eq!(got, expected, "{kind:?} {status:?} {text}: {sentence}");
        }
    }

    #[test]
    fn the_status_is_found_in_the_attached_response() {
        let error = opendal::Error::new(ErrorKind::Unexpected, "")
            .with_context("response", "Parts { status: 507, version: HTTP/1.1, headers: {} }");
        assert_eq!(status(&error.to_string()), Some(507));
        assert_eq!(failed("create x at s3://b", &error).kind(), Kind::Full);
        assert_eq!(status("nothing came"), None);
    }

    #[test]
    fn people_read_the_causes_but_not_the_whole_response() {
        let error = opendal::Error::new(ErrorKind::Unexpected, "send http request")
            .with_context("response", "Parts { status: 500, headers: {} }")
            .set_source(std::io::Error::other("connection reset"));
        assert_eq!(describe(&error), "send http request: connection reset");
    }
}
