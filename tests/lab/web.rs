//! What the server answers on its ports for HTTP, with TLS and without.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server::Shared;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

pub fn http(stream: TcpStream, shared: &Shared) {
    serve(stream, shared);
}

pub fn https(stream: TcpStream, shared: &Shared) {
    let session = ServerConnection::new(config()).unwrap();
    serve(StreamOwned::new(session, stream), shared);
}

fn serve(mut stream: impl Read + Write, shared: &Shared) {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while let Ok(1..) = stream.read(&mut byte) {
        request.push(byte[0]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        request.clear();
        if shared.mode() != "mute"
            && stream.write_all(ANSWER).and_then(|()| stream.flush()).is_err()
        {
            return;
        }
    }
}

/// With so many names that the certificate takes several segments.
fn config() -> Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    let made = CONFIG.get_or_init(|| {
        let names: Vec<_> = (0..120).map(|n| format!("host-{n}.example.com")).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    });
    Arc::clone(made)
}
