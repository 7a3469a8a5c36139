//! From an address and a snapshot of the environment to an operator: every setting explicit, none looked up.

use opendal::services::{Cos, Obs, Oss, S3, Swift, Webdav};
use opendal::{Operator, Result as OpendalResult};

use crate::error::{Error, Kind, Result};

use super::super::address::{RemotePlace, Service, check_endpoint};
use super::super::options::StoreOptions;
use super::retention::Bucket;

/// Every setting of a service, with nothing left to its defaults that could be read from the environment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Settings {
    service: Service,
    endpoint: Option<String>,
    bucket: String,
    root: String,
    region: String,
    addressing: Addressing,
    keys: Keys,
}

/// Where an S3 bucket's name goes in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addressing {
    Path,
    VirtualHost,
}

/// What a request is signed with.
#[derive(Clone, PartialEq, Eq)]
enum Keys {
    Pair { id: String, secret: String, session: Option<String> },
    Bearer(String),
    Basic { user: String, password: String },
    None,
}

/// The names under which a service's credentials stand in the environment, the first one first.
struct KeyNames {
    id: &'static [&'static str],
    secret: &'static [&'static str],
    session: &'static [&'static str],
}

/// Stands for the endpoint of the region.
const AMAZON: &str = "https://s3.amazonaws.com";

const S3_KEYS: KeyNames = KeyNames {
    id: &["AWS_ACCESS_KEY_ID"],
    secret: &["AWS_SECRET_ACCESS_KEY"],
    session: &["AWS_SESSION_TOKEN"],
};
const OSS_KEYS: KeyNames = KeyNames {
    id: &["ALIBABA_CLOUD_ACCESS_KEY_ID", "OSS_ACCESS_KEY_ID"],
    secret: &["ALIBABA_CLOUD_ACCESS_KEY_SECRET", "OSS_ACCESS_KEY_SECRET"],
    session: &["ALIBABA_CLOUD_SECURITY_TOKEN", "OSS_SESSION_TOKEN"],
};
const COS_KEYS: KeyNames = KeyNames {
    id: &["TENCENTCLOUD_SECRET_ID"],
    secret: &["TENCENTCLOUD_SECRET_KEY"],
    session: &["TENCENTCLOUD_TOKEN"],
};
const OBS_KEYS: KeyNames = KeyNames {
    id: &["HUAWEI_CLOUD_ACCESS_KEY_ID", "OBS_ACCESS_KEY_ID"],
    secret: &["HUAWEI_CLOUD_SECRET_ACCESS_KEY", "OBS_SECRET_ACCESS_KEY"],
    session: &[],
};

impl Settings {
    /// Puts address and environment together; what the address says goes first.
    ///
    /// # Errors
    /// [`Kind::Input`] naming the variable or the parameter that is missing.
    pub(super) fn resolve(place: &RemotePlace, options: &StoreOptions) -> Result<Self> {
        let endpoint = endpoint(place, options)?;
        let region = place.parameters.get("region").map(String::as_str);
        let region = region.or_else(|| options.credential(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            // Servers of one's own rarely have regions, and sign with this name.
            (None, Some(_)) => "us-east-1",
            (None, None) if place.service == Service::S3 => {
                return Err(input("an s3:// address needs ?region=, or AWS_REGION"));
            }
            (None, None) => "",
        };
        Ok(Self {
            service: place.service,
            bucket: place.authority.clone(),
            root: format!("/{}", place.prefix),
            region: region.to_owned(),
            addressing: addressing(place, endpoint.is_some()),
            keys: keys(place, options)?,
            endpoint,
        })
    }

    /// Whether the endpoint is reached without TLS.
    pub(super) fn is_plain_text(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    /// The operator; nothing is sent.
    pub(super) fn operator(&self) -> OpendalResult<Operator> {
        match self.service {
            Service::S3 => Operator::new(self.s3()),
            Service::Oss => Operator::new(self.oss()),
            Service::Cos => Operator::new(self.cos()),
            Service::Obs => Operator::new(self.obs()),
            Service::Swift => Operator::new(self.swift()),
            Service::Webdav | Service::Webdavs => Operator::new(self.webdav()),
        }
    }

    /// What the calls of object lock need, if the protocol has them.
    pub(super) fn lockable(&self) -> Option<Bucket<'_>> {
        let Keys::Pair { id, secret, session } = &self.keys else { return None };
        (self.service == Service::S3).then(|| Bucket {
            url: self.bucket_url(),
            root: &self.root,
            region: &self.region,
            key_id: id,
            secret,
            session: session.as_deref(),
        })
    }

    /// The URL of an S3 bucket, as opendal makes it.
    fn bucket_url(&self) -> String {
        let endpoint = self.endpoint().trim_end_matches('/');
        let endpoint = match endpoint {
            "" | AMAZON => format!("https://s3.{}.amazonaws.com", self.region),
            own => own.to_owned(),
        };
        match self.addressing {
            Addressing::Path => format!("{endpoint}/{}", self.bucket),
            Addressing::VirtualHost => endpoint.replacen("//", &format!("//{}.", self.bucket), 1),
        }
    }

    fn endpoint(&self) -> &str {
        self.endpoint.as_deref().unwrap_or_default()
    }

    fn s3(&self) -> S3 {
        // With the checksum a bucket under object lock takes an object, and the server checks what arrived.
        let mut builder = S3::default()
            .bucket(&self.bucket)
            .root(&self.root)
            .region(&self.region)
            .endpoint(if self.endpoint.is_some() { self.endpoint() } else { AMAZON })
            .checksum_algorithm("crc32c")
            .disable_config_load()
            .disable_ec2_metadata();
        if self.addressing == Addressing::VirtualHost {
            builder = builder.enable_virtual_host_style();
        }
        match &self.keys {
            Keys::Pair { id, secret, session } => builder
                .access_key_id(id)
                .secret_access_key(secret)
                .session_token(session.as_deref().unwrap_or_default()),
            Keys::Bearer(_) | Keys::Basic { .. } | Keys::None => builder,
        }
    }

    fn oss(&self) -> Oss {
        let builder = Oss::default().bucket(&self.bucket).root(&self.root).endpoint(self.endpoint());
        match &self.keys {
            Keys::Pair { id, secret, session } => builder
                .access_key_id(id)
                .access_key_secret(secret)
                .security_token(session.as_deref().unwrap_or_default()),
            Keys::Bearer(_) | Keys::Basic { .. } | Keys::None => builder,
        }
    }

    fn cos(&self) -> Cos {
        let builder = Cos::default()
            .bucket(&self.bucket)
            .root(&self.root)
            .endpoint(self.endpoint())
            .disable_config_load();
        match &self.keys {
            Keys::Pair { id, secret, session } => builder
                .secret_id(id)
                .secret_key(secret)
                .security_token(session.as_deref().unwrap_or_default()),
            Keys::Bearer(_) | Keys::Basic { .. } | Keys::None => builder,
        }
    }

    fn obs(&self) -> Obs {
        let builder = Obs::default().bucket(&self.bucket).root(&self.root).endpoint(self.endpoint());
        match &self.keys {
            Keys::Pair { id, secret, .. } => builder.access_key_id(id).secret_access_key(secret),
            Keys::Bearer(_) | Keys::Basic { .. } | Keys::None => builder,
        }
    }

    fn swift(&self) -> Swift {
        let builder = Swift::default().container(&self.bucket).root(&self.root).endpoint(self.endpoint());
        match &self.keys {
            Keys::Bearer(token) => builder.token(token),
            Keys::Pair { .. } | Keys::Basic { .. } | Keys::None => builder,
        }
    }

    fn webdav(&self) -> Webdav {
        let builder = Webdav::default().endpoint(self.endpoint()).root(&self.root);
        match &self.keys {
            Keys::Basic { user, password } => builder.username(user).password(password),
            Keys::Bearer(token) => builder.token(token),
            Keys::Pair { .. } | Keys::None => builder,
        }
    }
}

fn endpoint(place: &RemotePlace, options: &StoreOptions) -> Result<Option<String>> {
    let variables: &[&str] = match place.service {
        Service::Webdav => return Ok(Some(format!("http://{}", place.authority))),
        Service::Webdavs => return Ok(Some(format!("https://{}", place.authority))),
        Service::S3 => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
        Service::Oss => &["OSS_ENDPOINT"],
        Service::Cos => &["COS_ENDPOINT"],
        Service::Obs => &["OBS_ENDPOINT"],
        Service::Swift => &["OS_STORAGE_URL"],
    };
    if let Some(endpoint) = place.parameters.get("endpoint") {
        return Ok(Some(endpoint.clone()));
    }
    if let Some(endpoint) = options.credential(variables) {
        check_endpoint(endpoint).map_err(|error| error.context(format!("read {}", variables[0])))?;
        return Ok(Some(endpoint.to_owned()));
    }
    if place.service == Service::S3 {
        return Ok(None);
    }
    let scheme = place.service.scheme();
    Err(input(format!("a {scheme}:// address needs ?endpoint=https://…, or {}", variables[0])))
}

fn addressing(place: &RemotePlace, own_endpoint: bool) -> Addressing {
    match place.parameters.get("style").map(String::as_str) {
        Some("virtual") => Addressing::VirtualHost,
        Some(_) => Addressing::Path,
        // A certificate for *.host does not cover a name with more dots.
        None if own_endpoint || place.authority.contains('.') => Addressing::Path,
        None => Addressing::VirtualHost,
    }
}

fn keys(place: &RemotePlace, options: &StoreOptions) -> Result<Keys> {
    match place.service {
        Service::S3 => pair(place.service, &S3_KEYS, options),
        Service::Oss => pair(place.service, &OSS_KEYS, options),
        Service::Cos => pair(place.service, &COS_KEYS, options),
        Service::Obs => pair(place.service, &OBS_KEYS, options),
        Service::Swift => match options.credential(&["OS_AUTH_TOKEN"]) {
            Some(token) => Ok(Keys::Bearer(token.to_owned())),
            None => Err(input("a swift:// address needs OS_AUTH_TOKEN")),
        },
        Service::Webdav | Service::Webdavs => Ok(webdav_keys(place, options)),
    }
}

fn pair(service: Service, names: &KeyNames, options: &StoreOptions) -> Result<Keys> {
    let (Some(id), Some(secret)) = (options.credential(names.id), options.credential(names.secret)) else {
        let (scheme, id, secret) = (service.scheme(), names.id[0], names.secret[0]);
        return Err(input(format!("a {scheme}:// address needs {id} and {secret}")));
    };
    let session = options.credential(names.session).map(str::to_owned);
    Ok(Keys::Pair { id: id.to_owned(), secret: secret.to_owned(), session })
}

fn webdav_keys(place: &RemotePlace, options: &StoreOptions) -> Keys {
    let user = place.user.as_deref().or_else(|| options.credential(&["WEBDAV_USERNAME"]));
    let password = place.password.as_deref().or_else(|| options.credential(&["WEBDAV_PASSWORD"]));
    match (user, options.credential(&["WEBDAV_TOKEN"])) {
        (Some(user), _) => {
            Keys::Basic { user: user.to_owned(), password: password.unwrap_or_default().to_owned() }
        }
        (None, Some(token)) => Keys::Bearer(token.to_owned()),
        (None, None) => Keys::None,
    }
}

fn input(message: impl Into<String>) -> Error {
    Error::new(Kind::Input, message)
}

#[cfg(test)]
mod tests {
    use super::super::super::address::{Address, Place};
    use super::*;

    const AWS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    fn resolve(address: &str, variables: &[(&str, &str)]) -> Result<Settings> {
        let Place::Remote(place) = Address::parse(address)?.place else { panic!("{address} is remote") };
        let credentials =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::resolve(&place, &StoreOptions { credentials, ..StoreOptions::default() })
    }

    #[test]
    fn what_the_address_says_goes_before_the_environment() {
        let mut variables = AWS.to_vec();
        variables.push(("AWS_ENDPOINT_URL", "http://env:1"));
        variables.push(("AWS_REGION", "env-1"));
        let from_environment = resolve("s3://b/p", &variables).unwrap();
        assert_eq!(from_environment.endpoint(), "http://env:1");
        assert_eq!(from_environment.region, "env-1");
        assert_eq!(from_environment.addressing, Addressing::Path);
        let from_address =
            resolve("s3://b/p?endpoint=https://a&region=a-1&style=virtual", &variables).unwrap();
        assert_eq!(from_address.endpoint(), "https://a");
        assert_eq!(from_address.region, "a-1");
        assert_eq!(from_address.addressing, Addressing::VirtualHost);
        assert!(from_environment.is_plain_text() && !from_address.is_plain_text());
    }

    #[test]
    fn amazon_itself_gets_the_bucket_in_the_host_name_where_it_can() {
        for (address, expected) in
            [("s3://b?region=r", Addressing::VirtualHost), ("s3://b.c?region=r", Addressing::Path)]
        {
            assert_eq!(resolve(address, &AWS).unwrap().addressing, expected, "{address}");
        }
    }

    #[test]
    fn only_an_s3_bucket_can_have_object_lock_and_it_is_where_opendal_looks_for_it() {
        for (address, expected) in [
            ("s3://b/p?region=r-1", Some("https://b.s3.r-1.amazonaws.com")),
            (
                "s3://b.c/p?region=r-1&endpoint=https://s3.amazonaws.com",
                Some("https://s3.r-1.amazonaws.com/b.c"),
            ),
            ("s3://b/p?endpoint=http://h:9000/", Some("http://h:9000/b")),
            ("s3://b/p?endpoint=https://h&style=virtual", Some("https://b.h")),
            ("webdav://me:pw@h/dav", None),
        ] {
            let settings = resolve(address, &AWS).unwrap();
            let bucket = settings.lockable();
            assert_eq!(bucket.as_ref().map(|bucket| bucket.url.as_str()), expected, "{address}");
            assert!(bucket.is_none_or(|bucket| bucket.root == "/p"));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Variables<'_>, &str); 8] = [
            ("s3://b", &AWS, "region"),
            ("s3://b?region=r", &[], "AWS_ACCESS_KEY_ID"),
            ("s3://b?region=r", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "")], "AWS_SECRET"),
            ("s3://b", &[AWS[0], AWS[1], ("AWS_ENDPOINT_URL", "host:9000")], "AWS_ENDPOINT_URL"),
            ("oss://b", &[], "OSS_ENDPOINT"),
            ("cos://b?endpoint=https://h", &[], "TENCENTCLOUD_SECRET_ID"),
            ("obs://b?endpoint=https://h", &[], "HUAWEI_CLOUD_ACCESS_KEY_ID"),
            ("swift://c?endpoint=https://h", &[], "OS_AUTH_TOKEN"),
        ];
        for (address, variables, part) in table {
            let Err(error) = resolve(address, variables) else { panic!("{address} resolved") };
            assert_eq!(error.kind(), Kind::Input, "{address}");
            assert!(error.to_string().contains(part), "{address}: {error}");
        }
    }

    #[test]
    fn every_service_makes_an_operator_and_says_whether_it_can_create_if_absent() {
        let variables = [
            AWS[0],
            AWS[1],
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "i"),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s"),
            ("TENCENTCLOUD_SECRET_ID", "i"),
            ("TENCENTCLOUD_SECRET_KEY", "s"),
            ("HUAWEI_CLOUD_ACCESS_KEY_ID", "i"),
            ("HUAWEI_CLOUD_SECRET_ACCESS_KEY", "s"),
            ("OS_AUTH_TOKEN", "t"),
        ];
        let table = [
            ("s3://b?region=r", true),
            ("oss://b?endpoint=https://h", true),
            ("cos://b?endpoint=https://h", true),
            ("obs://b?endpoint=https://h", false),
            ("swift://b?endpoint=https://h/v1/a", false),
            ("webdav://h/dav", false),
            ("webdavs://me:pw@h/dav", false),
        ];
        for (address, conditional) in table {
            let operator = resolve(address, &variables).unwrap().operator().unwrap();
            assert_eq!(operator.info().capability().write_with_if_not_exists, conditional, "{address}");
        }
    }
}
