//! Tls: whom to trust, and who to be, on connections under TLS.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::error::Error;
use crate::tls_roots::{self, OwnAuthorities};

/// Whom to trust on connections under TLS, and who to be.
///
/// The default trusts the public authorities that browsers trust (Mozilla's list, compiled in).
/// TLS 1.2 and 1.3 by rustls with ring.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), keepbeat::Error> {
/// let public = keepbeat::Tls::new();
/// let own = keepbeat::Tls::new().ca_file("no/such/file.pem");
/// assert!(own.unwrap_err().is_invalid());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// None trusts the public authorities.
    roots: Option<Vec<CertificateDer<'static>>>,
    client: Option<Arc<Client>>,
    insecure: bool,
    expiry_warning: Duration,
}

#[derive(PartialEq, Eq)]
struct Client {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Long enough for whoever renews certificates by hand; those that are renewed by a program have 30
/// days left when it does.
const EXPIRY_WARNING: Duration = Duration::from_secs(21 * 24 * 3600);

impl Default for Tls {
    fn default() -> Tls {
        Tls::new()
    }
}

impl Tls {
    /// Trusts the public authorities.
    pub fn new() -> Tls {
        Tls { roots: None, client: None, insecure: false, expiry_warning: EXPIRY_WARNING }
    }

    /// Trusts the authorities in this PEM text, and no others. A server that shows one of them as
    /// its own certificate, as `openssl req -x509` makes them, is trusted as well.
    ///
    /// # Errors
    ///
    /// If it holds no certificate, or one that cannot be read.
    pub fn ca_pem(mut self, pem: &[u8]) -> Result<Tls, Error> {
        self.roots = Some(certificates(pem, "the authorities")?);
        Ok(self)
    }

    /// As [`ca_pem`](Tls::ca_pem), from a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, and as [`ca_pem`](Tls::ca_pem).
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<Tls, Error> {
        let path = path.as_ref();
        let pem = std::fs::read(path)
            .map_err(|error| Error::invalid(format!("CA file {}: {error}", path.display())))?;
        self.ca_pem(&pem)
            .map_err(|error| Error::invalid(format!("CA file {}: {error}", path.display())))
    }

    /// Trusts the authorities of this machine, and no others: those of `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` where they are set, else those that its system keeps for all programs. For a
    /// company that has put its own authority there.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are none.
    ///
    /// ```no_run
    /// use keepbeat::{Session, Tls};
    ///
    /// let session = Session::builder().tls(Tls::new().platform_roots()?).build()?;
    /// # Ok::<(), keepbeat::Error>(())
    /// ```
    pub fn platform_roots(mut self) -> Result<Tls, Error> {
        self.roots = Some(tls_roots::of_platform(|name| std::env::var_os(name))?);
        Ok(self)
    }

    /// Shows this certificate to servers that ask for one: the chain, the own certificate first,
    /// and its private key, both in PEM.
    ///
    /// # Errors
    ///
    /// If either cannot be read.
    pub fn client_pem(mut self, chain: &[u8], key: &[u8]) -> Result<Tls, Error> {
        let chain = certificates(chain, "the client certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| Error::invalid(format!("the client's private key: {error}")))?;
        self.client = Some(Arc::new(Client { chain, key }));
        Ok(self)
    }

    /// Accepts every certificate. Anybody on the path can then read and change what is sent: for
    /// tests, and for a look at what a wrong certificate hides.
    pub fn danger_accept_any_certificate(mut self) -> Tls {
        self.insecure = true;
        self
    }

    /// Warns of a certificate of the peer that expires sooner than this: on a link by an event,
    /// [`Diagnosed`](crate::EventKind::Diagnosed), once a day. Default: 21 days. With zero there is
    /// no warning, nor where any certificate is accepted.
    pub fn expiry_warning(mut self, before: Duration) -> Tls {
        self.expiry_warning = before;
        self
    }

    /// How long before its end a certificate is worth a warning; none if never.
    pub(crate) fn warns_before(&self) -> Option<Duration> {
        Some(self.expiry_warning).filter(|before| !before.is_zero() && !self.insecure)
    }

    /// For links: each handshake shows the certificate anew. A session that is resumed is not
    /// checked again, and hides that the certificate has expired, or was renewed.
    pub(crate) fn config_of_link(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut config = self.config()?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// What rustls needs to know.
    pub(crate) fn config(&self) -> Result<ClientConfig, Error> {
        let failed = |what: &str, error: rustls::Error| Error::invalid(format!("{what}: {error}"));
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed("TLS versions", error))?;
        let builder = if self.insecure {
            let verifier = Arc::new(AnyCertificate(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            match &self.roots {
                None => builder.with_root_certificates(RootCertStore {
                    roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
                }),
                Some(own) => {
                    let verifier = Arc::new(OwnAuthorities::new(own, provider)?);
                    builder.dangerous().with_custom_certificate_verifier(verifier)
                }
            }
        };
        match &self.client {
            None => Ok(builder.with_no_client_auth()),
            Some(client) => builder
                .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
                .map_err(|error| failed("the client certificate", error)),
        }
    }
}

/// When the first certificate of this chain expires, whoever has signed it.
pub(crate) fn expires(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    // Of the year 10000 every certificate is told to have expired, and since when: the time comes
    // before the signatures. So the parser that is there already reads it.
    const LATER_THAN_ANY: u64 = 253_402_300_800;
    static VERIFIER: OnceLock<Option<Arc<WebPkiServerVerifier>>> = OnceLock::new();
    let verifier = VERIFIER.get_or_init(|| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS[..1].to_vec() };
        let provider = Arc::new(ring::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()
    });
    let (certificate, intermediates) = chain.split_first()?;
    let name = ServerName::try_from("certificate.invalid").ok()?;
    let then = UnixTime::since_unix_epoch(Duration::from_secs(LATER_THAN_ANY));
    match verifier.as_ref()?.verify_server_cert(certificate, intermediates, &name, &[], then) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs())),
        _ => None,
    }
}

fn certificates(pem: &[u8], whose: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| Error::invalid(format!("{whose}: {error}")))?;
    if found.is_empty() {
        return Err(Error::invalid(format!(
            "{whose}: no certificate in it; expected PEM, `-----BEGIN CERTIFICATE-----`"
        )));
    }
    Ok(found)
}

impl fmt::Debug for Tls {
    /// Says what kind it is; never a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own_authorities", &self.roots.as_ref().map(Vec::len))
            .field("client", &self.client.is_some())
            .field("insecure", &self.insecure)
            .finish()
    }
}

/// Believes everybody; signatures are still checked, so that the peer at least has the key it
/// shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
