//! The HTTP client: one for each store, shared by its clones.
//!
//! HTTP/1.1 only, because parallel uploads of large objects are faster over connections of their own. Proxies come
//! from the snapshot of the environment, not from the environment. Trusted are the platform's certificate
//! authorities (found by rustls-platform-verifier, which also honours `SSL_CERT_FILE` by itself) and those in
//! `AWS_CA_BUNDLE`.

use std::time::Duration;

use opendal::{HttpTransporter, OperationContext};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::{Certificate, Client, NoProxy, Proxy};

use crate::error::{Error, Kind, Result};

use super::super::options::StoreOptions;

/// Idle connections are given up before a server or a firewall is likely to drop them unheard.
const IDLE: Duration = Duration::from_secs(20);

/// A client for one store. `plain_text` says that the endpoint is `http://`, so that a machine without any
/// certificate authority can still reach it.
pub(super) async fn client(options: &StoreOptions, plain_text: bool) -> Result<Client> {
    install_provider();
    let mut builder = Client::builder()
        .http1_only()
        .no_proxy()
        .user_agent(concat!("shudao/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.timeouts.connect)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .tcp_keepalive(IDLE);
    for proxy in proxies(options)? {
        builder = builder.proxy(proxy);
    }
    let bundle = read_bundle(options).await?;
    builder = if plain_text { builder.tls_certs_only(bundle) } else { builder.tls_certs_merge(bundle) };
    builder.build().map_err(|error| Error::new(Kind::Input, "prepare TLS connections").because(error))
}

/// The context in which opendal's services send through `client`.
pub(super) fn context(client: Client) -> OperationContext {
    OperationContext::new().with_http_transport(HttpTransporter::new(ReqwestTransport::new(client)))
}

/// The program installs the provider first; a test or an example may not have.
fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

async fn read_bundle(options: &StoreOptions) -> Result<Vec<Certificate>> {
    let Some(path) = options.credential(&["AWS_CA_BUNDLE"]).map(str::to_owned) else { return Ok(Vec::new()) };
    let wrong = || Error::new(Kind::Input, format!("read the certificates of AWS_CA_BUNDLE, {path}"));
    let file = path.clone();
    let read = tokio::task::spawn_blocking(move || std::fs::read(file)).await;
    let bytes = read.map_err(|error| wrong().because(error))?.map_err(|error| wrong().because(error))?;
    let certificates = Certificate::from_pem_bundle(&bytes).map_err(|error| wrong().because(error))?;
    if certificates.is_empty() {
        return Err(wrong().because("it holds no certificate in PEM"));
    }
    Ok(certificates)
}

fn proxies(options: &StoreOptions) -> Result<Vec<Proxy>> {
    let excepted = options.credential(&["NO_PROXY", "no_proxy"]).and_then(NoProxy::from_string);
    let mut proxies = Vec::new();
    type Make = fn(&str) -> reqwest::Result<Proxy>;
    let kinds: [(&[&str], Make); 3] = [
        (&["HTTPS_PROXY", "https_proxy"], |url| Proxy::https(url)),
        // Only the lower-case name: the upper-case one can be set by a request's header in CGI programs.
        (&["http_proxy"], |url| Proxy::http(url)),
        (&["ALL_PROXY", "all_proxy"], |url| Proxy::all(url)),
    ];
    for (names, make) in kinds {
        if let Some(url) = options.credential(names) {
            // The URL may hold a password, so neither it nor the cause is shown.
            let proxy = make(url)
                .map_err(|_| Error::new(Kind::Input, format!("{} is not the URL of a proxy", names[0])))?;
            proxies.push(proxy.no_proxy(excepted.clone()));
        }
    }
    Ok(proxies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> StoreOptions {
        let credentials =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        StoreOptions { credentials, ..StoreOptions::default() }
    }

    #[tokio::test]
    async fn a_bundle_that_cannot_be_used_is_an_input_error() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        for path in ["/nonexistent/ca.pem", empty.path().to_str().unwrap()] {
            let error = client(&options(&[("AWS_CA_BUNDLE", path)]), true).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[tokio::test]
    async fn a_plain_endpoint_needs_no_certificate_authority() {
        client(&options(&[]), true).await.unwrap();
    }

    #[test]
    fn proxies_come_from_the_snapshot_and_never_show_their_password() {
        let some = options(&[
            ("HTTPS_PROXY", "http://p:8080"),
            ("http_proxy", "http://p:8080"),
            ("NO_PROXY", "localhost"),
        ]);
        assert_eq!(proxies(&some).unwrap().len(), 2);
        let error = proxies(&options(&[("HTTPS_PROXY", "http://u:hush@:bad port")])).unwrap_err();
        assert!(!error.to_string().contains("hush"));
    }
}
