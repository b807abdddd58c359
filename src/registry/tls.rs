//! Which servers ketch trusts over TLS, and what it shows them.
//!
//! ```text
//! roots = certs.d/HOST/*.crt  +  the system's bundle, or webpki-roots where there is none
//! own   = certs.d/HOST/*.cert with *.key     shown to that host only
//! ```
//!
//! A self-signed server certificate made with `openssl req -x509` says that it is a CA. webpki
//! refuses it as a server's even when it is itself the trusted root; Go takes it, and it is how
//! private registries are set up. [`Verifier`] takes it too, if it is byte-equal to a root.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, InvalidMessage, RootCertStore,
    SignatureScheme,
};

use crate::base::order::InOrder as _;
use crate::registry::error::{Error, Result};

/// Where distributions keep the system's roots.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What decides about TLS with one registry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Take any certificate.
    pub(crate) insecure: bool,
    /// The directory of this host's certificates, if there is one.
    pub(crate) cert_dir: Option<PathBuf>,
    /// The system's bundle, if the environment names it (SSL_CERT_FILE).
    pub(crate) bundle: Option<PathBuf>,
    /// PEM text of roots in place of all others, and of the client's own certificate and its key.
    pub(crate) roots: Option<Vec<u8>>,
    pub(crate) own: Option<(Vec<u8>, Vec<u8>)>,
}

/// The directory that holds `host`'s certificates: the first of `bases` that has one.
pub(crate) fn cert_dir(bases: &[PathBuf], host: &str) -> Option<PathBuf> {
    bases.iter().map(|base| base.join(host)).find(|dir| dir.is_dir())
}

/// Builds the TLS side of a client.
///
/// `show_own` says whether the client's own certificate is shown: only to the registry itself,
/// never to where it redirects.
///
/// # Errors
///
/// [`Error::Tls`] for certificate files that cannot be used.
pub(crate) fn client_config(settings: &Settings, show_own: bool) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|err| tls_error(Path::new(""), err))?
        .dangerous();
    let builder = if settings.insecure {
        builder.with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else {
        builder.with_custom_certificate_verifier(Arc::new(Verifier::new(settings, provider)?))
    };
    let own = match (&settings.own, &settings.cert_dir) {
        (Some((chain, key)), _) if show_own => Some(certificate_with_key(chain, key)?),
        (None, Some(dir)) if show_own => own_certificate(dir)?,
        _ => None,
    };
    let mut config = match own {
        Some((path, chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|err| tls_error(&path, err))?
        }
        None => builder.with_no_client_auth(),
    };
    // One connection per layer: HTTP/2 would put them all behind one window.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The TLS side of a client that only speaks plain http: it trusts nobody and reads no file.
///
/// # Errors
///
/// Never in practice; the type is the TLS library's.
pub(crate) fn no_config() -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| tls_error(Path::new(""), err))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// All certificates to trust that files hold, and whether the system has a bundle at all.
fn roots(settings: &Settings) -> Result<(Vec<CertificateDer<'static>>, bool)> {
    let mut roots = Vec::new();
    if let Some(text) = &settings.roots {
        return Ok((certificates_in(text, Path::new(""))?, true));
    }
    if let Some(dir) = &settings.cert_dir {
        for path in files_ending(dir, "crt")? {
            roots.extend(certificates(&path)?);
        }
    }
    if let Some(named) = &settings.bundle {
        roots.extend(certificates(named)?);
        return Ok((roots, true));
    }
    // An unreadable bundle of the system counts as none: webpki-roots stand in.
    let system = BUNDLES.iter().find_map(|path| certificates(Path::new(path)).ok());
    let found = system.is_some();
    roots.extend(system.into_iter().flatten());
    Ok((roots, found))
}

/// The certificates of one PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    certificates_in(&std::fs::read(path).map_err(|err| tls_error(path, err))?, path)
}

/// The certificates of PEM text, which `path` is of.
fn certificates_in(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|err| tls_error(path, err))
}

type OwnCertificate = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate with its key, as PEM texts have them.
fn certificate_with_key(chain: &[u8], key: &[u8]) -> Result<OwnCertificate> {
    let nowhere = Path::new("");
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|err| tls_error(nowhere, err))?;
    Ok((PathBuf::new(), certificates_in(chain, nowhere)?, key))
}

/// The first `NAME.cert` with its `NAME.key`.
fn own_certificate(dir: &Path) -> Result<Option<OwnCertificate>> {
    let Some(path) = files_ending(dir, "cert")?.into_iter().next() else {
        return Ok(None);
    };
    let key_path = path.with_extension("key");
    let key = std::fs::read(&key_path).map_err(|err| tls_error(&key_path, err))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|err| tls_error(&key_path, err))?;
    let chain = certificates(&path)?;
    Ok(Some((path, chain, key)))
}

/// The files of a directory with this extension, by name.
fn files_ending(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|err| tls_error(dir, err))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.order();
    Ok(files)
}

fn tls_error(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Tls { path: path.to_owned(), reason: reason.to_string() }
}

/// webpki's judgement, and the one exception for self-signed roots.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(settings: &Settings, provider: Arc<CryptoProvider>) -> Result<Self> {
        let (roots, system) = roots(settings)?;
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        if !system {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map_err(|err| tls_error(Path::new(""), err))?;
        Ok(Self { webpki, roots })
    }
}

/// Why TLS failed, in the words that users of other tools know.
pub(super) fn reason(err: &TlsError) -> String {
    let certificate = match err {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => "signed by unknown authority",
        err if is_ca_as_server(err) => "signed by unknown authority",
        TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "has expired or is not yet valid",
        // What a server that knows no TLS sends looks like a damaged record.
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return "server gave HTTP response to HTTPS client".to_owned();
        }
        err => return err.to_string(),
    };
    format!("tls: failed to verify certificate: x509: certificate {certificate}")
}

/// webpki's word for a CA certificate that a server shows as its own. It says so after it has
/// found the certificate valid at this time.
fn is_ca_as_server(err: &TlsError) -> bool {
    match err {
        TlsError::InvalidCertificate(CertificateError::Other(inner)) => {
            inner.0.to_string().contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        match self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(err) if is_ca_as_server(&err) && self.roots.iter().any(|root| root == end_entity) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&parsed, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// `--tls-verify=false`: any certificate will do. The only place that says so.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_in_known_words() {
        for (err, want) in [
            (
                TlsError::InvalidCertificate(CertificateError::UnknownIssuer),
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ),
            (
                TlsError::InvalidCertificate(CertificateError::Expired),
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
            ),
            (
                TlsError::InvalidMessage(InvalidMessage::InvalidContentType),
                "server gave HTTP response to HTTPS client",
            ),
            (TlsError::DecryptError, "cannot decrypt peer's message"),
        ] {
            assert_eq!(reason(&err), want);
        }
    }
}
