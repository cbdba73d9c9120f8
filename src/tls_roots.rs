//! Authorities other than the public ones that are compiled in: the platform's, and a server's own
//! certificate that was given as one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Error;

/// Where the systems keep the file of all their authorities; the first that is there counts, as
/// with Go and OpenSSL.
const FILES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",                      // Alpine, OpenBSD, macOS
    "/usr/local/share/certs/ca-root-nss.crt", // FreeBSD
    "/etc/openssl/certs/ca-certificates.crt", // NetBSD
];

/// The authorities of the platform: of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set. Those
/// that rustls cannot read, very old ones, are left out.
pub(crate) fn of_platform(
    variable: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let (file, folders) = (set("SSL_CERT_FILE"), set("SSL_CERT_DIR"));
    let mut files: Vec<PathBuf> = file.iter().map(PathBuf::from).collect();
    if file.is_none() && folders.is_none() {
        files.extend(FILES.iter().map(PathBuf::from).find(|path| path.exists()));
    }
    let mut found = Vec::new();
    for path in &files {
        found.extend(read(path).map_err(|what| wrong(path, &what))?);
    }
    for folder in folders.iter().flat_map(std::env::split_paths) {
        let entries = std::fs::read_dir(&folder).map_err(|e| wrong(&folder, &e.to_string()))?;
        // Beside certificates there is whatever else somebody has put there.
        found.extend(entries.flatten().filter_map(|entry| read(&entry.path()).ok()).flatten());
    }
    found.retain(|root| RootCertStore::empty().add(root.clone()).is_ok());
    if found.is_empty() {
        return Err(Error::invalid(
            "this machine has no authorities: install its `ca-certificates`, or set \
             `SSL_CERT_FILE`",
        ));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.map_err(|error| error.to_string())
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::invalid(format!("the platform's authorities, {}: {what}", path.display()))
}

/// Believes these authorities, and their own certificates where a server shows one of them as its
/// own: whoever makes a certificate with `openssl req -x509` has made an authority that signed
/// itself, and gives it to both sides. curl and Go take that; webpki does not.
#[derive(Debug)]
pub(crate) struct OwnAuthorities {
    chains: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl OwnAuthorities {
    pub(crate) fn new(
        own: &[CertificateDer<'static>],
        provider: Arc<CryptoProvider>,
    ) -> Result<OwnAuthorities, Error> {
        let failed =
            |error: &dyn std::fmt::Display| Error::invalid(format!("an authority: {error}"));
        let mut roots = RootCertStore::empty();
        for root in own {
            roots.add(root.clone()).map_err(|error| failed(&error))?;
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| failed(&error))?;
        Ok(OwnAuthorities { chains, own: own.to_vec() })
    }
}

/// An authority is no server to webpki: said after the times were looked at, and before anything
/// else was.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    format!("{:?}", other.0) == "CaUsedAsEndEntity"
}

impl ServerCertVerifier for OwnAuthorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chains = &self.chains;
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(error) if is_authority(&error) && self.own.iter().any(|own| own == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn found(variables: &[(&str, &Path)]) -> Result<usize, String> {
        let get = |name: &str| {
            let set = variables.iter().find(|(n, _)| *n == name);
            set.map(|(_, value)| OsString::from(value))
        };
        of_platform(get).map(|found| found.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_variables_of_openssl_are_honoured() {
        let folder = std::env::temp_dir().join(format!("keepbeat-roots-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pem = |name: &str| {
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        let (one, two) = (folder.join("one.pem"), folder.join("two.pem"));
        std::fs::write(&one, pem("one")).unwrap();
        std::fs::write(&two, pem("two") + &pem("three")).unwrap();
        std::fs::write(folder.join("README"), "no certificate").unwrap();
        assert_eq!(found(&[("SSL_CERT_FILE", &two)]), Ok(2));
        assert_eq!(found(&[("SSL_CERT_DIR", &folder)]), Ok(3));
        assert_eq!(found(&[("SSL_CERT_FILE", &one), ("SSL_CERT_DIR", &folder)]), Ok(4));
        let missing = folder.join("missing.pem");
        assert!(found(&[("SSL_CERT_FILE", &missing)]).unwrap_err().contains("missing.pem"));
        let error = found(&[("SSL_CERT_FILE", &folder.join("README"))]).unwrap_err();
        assert!(error.contains("`SSL_CERT_FILE`"), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
