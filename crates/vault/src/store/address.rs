//! Where a store is: parsed from the text that people type, shown again without secrets.
//!
//! ```text
//! /srv/vault   vault   file:///srv/vault                     a directory
//! s3://bucket/prefix?endpoint=https://host&region=r&style=path|virtual
//! oss:// cos:// obs://bucket/prefix?endpoint=https://host
//! swift://container/prefix?endpoint=https://host/v1/AUTH_account
//! webdav:// webdavs://user@host:port/path
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// A parsed address. Two addresses are equal when they are written alike; that they name different stores is
/// for the replica's own id to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) place: Place,
}

/// What an address names.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    Local(PathBuf),
    Remote(RemotePlace),
    Memory,
}

/// A place that is reached over the network.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RemotePlace {
    pub(super) service: Service,
    /// Bucket, container, or host with port.
    pub(super) authority: String,
    /// Directory inside it, without slashes at its ends.
    pub(super) prefix: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) parameters: BTreeMap<String, String>,
}

/// The protocols that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    Oss,
    Cos,
    Obs,
    Swift,
    Webdav,
    Webdavs,
}

const SERVICES: [Service; 7] = [
    Service::S3,
    Service::Oss,
    Service::Cos,
    Service::Obs,
    Service::Swift,
    Service::Webdav,
    Service::Webdavs,
];

impl Service {
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Oss => "oss",
            Self::Cos => "cos",
            Self::Obs => "obs",
            Self::Swift => "swift",
            Self::Webdav => "webdav",
            Self::Webdavs => "webdavs",
        }
    }

    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &["endpoint", "region", "style"],
            Self::Oss | Self::Cos | Self::Obs | Self::Swift => &["endpoint"],
            Self::Webdav | Self::Webdavs => &[],
        }
    }
}

impl Address {
    /// Parses what a person typed. Text without `://` is a path; nothing is looked up.
    ///
    /// # Errors
    /// [`Kind::Input`] with a sentence that says what is wrong; it never repeats a password.
    pub fn parse(text: &str) -> Result<Self> {
        let place = match text.split_once("://") {
            None => Place::Local(parse_path(text)?),
            Some(("file", rest)) => Place::Local(parse_file(rest)?),
            Some((scheme, rest)) => {
                let service = SERVICES.into_iter().find(|service| service.scheme() == scheme);
                let service = service.ok_or_else(|| {
                    let known = SERVICES.map(|service| format!("{}://", service.scheme())).join(", ");
                    input(format!("{scheme}:// is not a kind of store; there are paths, file://, {known}"))
                })?;
                Place::Remote(parse_remote(service, rest)?)
            }
        };
        Ok(Self { place })
    }

    /// The directory, when the store is a local one.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Local(path) => Some(path),
            Place::Remote(_) | Place::Memory => None,
        }
    }
}

fn parse_path(text: &str) -> Result<PathBuf> {
    if text.is_empty() || text.contains('\0') {
        return Err(input("an empty text is not the address of a store"));
    }
    Ok(PathBuf::from(text))
}

fn parse_file(rest: &str) -> Result<PathBuf> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(input("a file:// address needs an absolute path, with three slashes: file:///srv/vault"));
    }
    parse_path(&percent_decode(path)?)
}

fn parse_remote(service: Service, rest: &str) -> Result<RemotePlace> {
    let scheme = service.scheme();
    if rest.contains('#') {
        return Err(input(format!("a {scheme}:// address has no part after #")));
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, prefix) = place.split_once('/').unwrap_or((place, ""));
    let (user, password, authority) = parse_user(service, authority)?;
    if !is_authority(service, authority) {
        let what = if is_webdav(service) { "host" } else { "bucket" };
        return Err(input(format!("{scheme}://{authority}: this is not the name of a {what}")));
    }
    Ok(RemotePlace {
        service,
        authority: authority.to_owned(),
        prefix: parse_prefix(scheme, prefix)?,
        user,
        password,
        parameters: parse_query(service, query)?,
    })
}

type User<'a> = (Option<String>, Option<String>, &'a str);

fn parse_user(service: Service, authority: &str) -> Result<User<'_>> {
    let Some((user, host)) = authority.rsplit_once('@') else { return Ok((None, None, authority)) };
    if !is_webdav(service) {
        let scheme = service.scheme();
        return Err(input(format!(
            "a {scheme}:// address holds no credentials; they come from the environment"
        )));
    }
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(percent_decode(password)?)),
        None => (user, None),
    };
    Ok((Some(percent_decode(user)?), password, host))
}

fn parse_prefix(scheme: &str, prefix: &str) -> Result<String> {
    let prefix = prefix.trim_end_matches('/');
    let part_fits = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.chars().any(|c| c.is_control() || c == '%')
    };
    if prefix.is_empty() || prefix.split('/').all(part_fits) {
        return Ok(prefix.to_owned());
    }
    Err(input(format!("{prefix:?} cannot be the directory of a {scheme}:// address")))
}

fn parse_query(service: Service, query: &str) -> Result<BTreeMap<String, String>> {
    let known = service.parameters();
    let mut parameters = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.contains(&name) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let scheme = service.scheme();
            return Err(input(format!("{name:?} is not a parameter of {scheme}://; it takes: {known}")));
        }
        let value = percent_decode(value)?;
        check_parameter(name, &value)?;
        if parameters.insert(name.to_owned(), value).is_some() {
            return Err(input(format!("the parameter {name} stands there twice")));
        }
    }
    Ok(parameters)
}

fn check_parameter(name: &str, value: &str) -> Result<()> {
    match name {
        "endpoint" => check_endpoint(value),
        "style" if value == "path" || value == "virtual" => Ok(()),
        "style" => Err(input("style is path or virtual")),
        _ if value.is_empty() => Err(input(format!("the parameter {name} is empty"))),
        _ => Ok(()),
    }
}

/// Checks an endpoint, from an address or from the environment: a URL without credentials or query.
pub(super) fn check_endpoint(value: &str) -> Result<()> {
    let Some(rest) = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://")) else {
        return Err(input("endpoint must begin with https:// or http://"));
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || rest.contains(['@', '?', '#', ' ']) || rest.chars().any(char::is_control) {
        return Err(input("endpoint must be a URL with a host and without credentials"));
    }
    Ok(())
}

fn is_webdav(service: Service) -> bool {
    matches!(service, Service::Webdav | Service::Webdavs)
}

fn is_authority(service: Service, text: &str) -> bool {
    let extra: &[u8] = if is_webdav(service) { b"-._:[]" } else { b"-._" };
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

fn percent_decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| (byte as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(input("a % in an address is followed by two hexadecimal digits"));
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| input("an address is UTF-8 text"))
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '&' | '#' | '?' | '@') || c.is_control() || c == ' ' {
            // All of these are single bytes, or controls of at most two.
            for byte in c.to_string().bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn input(message: impl Into<String>) -> Error {
    Error::new(Kind::Input, message)
}

impl fmt::Display for Address {
    /// The address as it can be typed again, without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local(path) => write!(f, "{}", path.display()),
            Place::Remote(place) => place.fmt(f),
            Place::Memory => f.write_str("memory"),
        }
    }
}

impl fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.service.scheme())?;
        if let Some(user) = &self.user {
            write!(f, "{}@", percent_encode(user))?;
        }
        f.write_str(&self.authority)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        for (n, (name, value)) in self.parameters.iter().enumerate() {
            let joint = if n == 0 { '?' } else { '&' };
            write!(f, "{joint}{name}={}", percent_encode(value))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_can_be_typed_again() {
        let table = [
            ("/srv/vault", "/srv/vault"),
            ("relative/dir", "relative/dir"),
            ("odd?name#", "odd?name#"),
            ("file:///srv/my%20vault", "/srv/my vault"),
            ("file://localhost/srv/vault", "/srv/vault"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("s3://bucket/备份", "s3://bucket/备份"),
            (
                "s3://b/p?region=cn-1&endpoint=http://127.0.0.1:9000",
                "s3://b/p?endpoint=http://127.0.0.1:9000&region=cn-1",
            ),
            ("s3://b?endpoint=http%3A%2F%2Fh%3A1", "s3://b?endpoint=http://h:1"),
            ("s3://b?style=virtual&region=r", "s3://b?region=r&style=virtual"),
            (
                "oss://b/p?endpoint=https://oss-cn-x.example.com",
                "oss://b/p?endpoint=https://oss-cn-x.example.com",
            ),
            ("swift://c/p?endpoint=https://h/v1/AUTH_a", "swift://c/p?endpoint=https://h/v1/AUTH_a"),
            ("webdav://host:8080/dav", "webdav://host:8080/dav"),
            ("webdavs://me:s3cr%40t@host/dav", "webdavs://me@host/dav"),
        ];
        for (text, shown) in table {
            let address = Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), shown, "{text}");
            let again = Address::parse(&address.to_string()).unwrap();
            assert_eq!(again.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        let table = [
            ("", "empty"),
            ("ftp://host/x", "not a kind of store"),
            ("file://host/x", "three slashes"),
            ("file:///a%2", "hexadecimal"),
            ("s3://", "bucket"),
            ("s3:///x", "bucket"),
            ("s3://bu cket", "bucket"),
            ("s3://key:secret@bucket", "environment"),
            ("s3://b/a//c", "directory"),
            ("s3://b/../c", "directory"),
            ("s3://b/a%2e", "directory"),
            ("s3://b/p#f", "#"),
            ("s3://b?regoin=x", "it takes: endpoint, region, style"),
            ("s3://b?region=", "empty"),
            ("s3://b?region=a&region=b", "twice"),
            ("s3://b?endpoint=host:9000", "https://"),
            ("s3://b?endpoint=http://u:p@host", "without credentials"),
            ("s3://b?style=weird", "path or virtual"),
            ("webdav://host/x?a=b", "it takes: none"),
        ];
        for (text, part) in table {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_shows_nowhere() {
        let address = Address::parse("webdavs://me:hush%21@host/dav").unwrap();
        assert!(!format!("{address} {address:?}").contains("hush"));
        let Place::Remote(place) = &address.place else { panic!("remote") };
        assert_eq!(place.password.as_deref(), Some("hush!"));
        let error = Address::parse("s3://key:hush@bucket").unwrap_err();
        assert!(!error.to_string().contains("hush"));
    }
}
