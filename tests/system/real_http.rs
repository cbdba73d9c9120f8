//! Sessions and real programs: squid and tinyproxy as Debian sets them up, microsocks, Apache,
//! nginx and OpenSSL's server. Their behaviour is what the scripted servers of `tests/it/session`
//! imitate.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use keepbeat::{Cause, Session, Tls};
use libtest_mimic::Trial;
use ureq::http::StatusCode;

use crate::http_servers::{Folder, apache};
use crate::server::{Nginx, Server, free_port, program};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    let nginx = || program("nginx", "nginx-light");
    let with = |name, package| nginx().and_then(|()| program(name, package));
    let openssl = |name, package| with(name, package).and_then(|()| program("openssl", "openssl"));
    vec![
        trial("squid_as_it_is_installed", openssl("squid", "squid"), squid),
        trial("tinyproxy_as_it_is_installed", openssl("tinyproxy", "tinyproxy"), tinyproxy),
        trial("microsocks_with_and_without_a_login", openssl("microsocks", "microsocks"), socks),
        trial("nginx_and_what_has_no_body", nginx(), nginx_bodies),
        trial("apache_and_what_has_no_body", program("apache2", "apache2-bin"), apache_bodies),
        trial("openssl_and_the_end_of_a_body", openssl("openssl", "openssl"), farewells),
    ]
}

/// A web server behind the proxies: `/twice` is what ran there.
fn origin() -> Nginx {
    Nginx::start(
        "server { listen 127.0.0.1:PORT; location /found { return 302 /; } \
         location / { return 200 \"hello\"; } }",
    )
}

/// What goes in plain through a proxy for HTTP: each request once, on one connection.
fn assert_forwards(session: &Session, origin: &Nginx) {
    for _ in 0..3 {
        assert_eq!(session.get(origin.url("/")).send().unwrap().text().unwrap(), "hello");
        let post = session.post(origin.url("/post")).body("some").send().unwrap();
        assert_eq!(post.status(), 200);
        drop(post);
        assert_eq!(session.head(origin.url("/")).send().unwrap().bytes().unwrap(), b"");
        let found = session.get(origin.url("/found")).send().unwrap().text().unwrap();
        assert_eq!(found, "hello");
    }
    assert_eq!(session.stats().opened, 1, "{:?}", session.stats());
    let posts = origin.requests().iter().filter(|line| line.contains("POST /post")).count();
    assert_eq!(posts, 3);
}

/// No tunnel, in the proxy's own words; nothing was sent, and the proxy was asked once.
fn assert_refuses(session: &Session, tls: SocketAddr, words: &str) {
    let before = session.stats().opened;
    let error = session.post(format!("https://{tls}/")).body("some").send().unwrap_err();
    assert_eq!(error.cause(), Some(Cause::ProxyFailed), "{error:?}");
    assert!(error.is_connect() && !error.may_have_run(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(words), "{text}");
    assert_eq!(session.stats().opened, before);
}

fn by(url: &str) -> keepbeat::SessionBuilder {
    Session::builder().proxy(url).tls(Tls::new().danger_accept_any_certificate())
}

fn squid() {
    let folder = Folder::new("squid");
    let (origin, tls) = (origin(), OpenSsl::start("-www"));
    let start = |name: &str, allowed: u16| {
        let port = free_port();
        // The access rules of the Debian package; for the tests it keeps no files.
        let text = format!(
            "acl SSL_ports port 443\nacl SSL_ports port {allowed}\nacl Safe_ports port 80 443 \
             1025-65535\nhttp_access deny !Safe_ports\nhttp_access deny CONNECT !SSL_ports\n\
             http_access allow localhost\nhttp_access deny all\nhttp_port 127.0.0.1:{port}\n\
             pid_filename none\naccess_log none\ncache deny all\nshutdown_lifetime 0 seconds\n\
             netdb_filename none\ncache_log /dev/null\ncache_store_log none\n"
        );
        let file = folder.0.join(name);
        std::fs::write(&file, text).unwrap();
        Server::start(Command::new("squid").args(["-N", "-f"]).arg(file), port)
    };
    let server = start("strict", 443);
    let session = by(&format!("http://{}", server.address)).build().unwrap();
    assert_forwards(&session, &origin);
    assert_refuses(&session, tls.0.address, "403 Forbidden");
    let server = start("open", tls.0.address.port());
    let session = by(&format!("http://{}", server.address)).build().unwrap();
    tls.assert_reached(&session);
}

fn tinyproxy() {
    let folder = Folder::new("tinyproxy");
    let (origin, tls) = (origin(), OpenSsl::start("-www"));
    let start = |name: &str, more: &str| {
        let port = free_port();
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 600\nAllow 127.0.0.1\nConnectPort 443\n\
             LogLevel Critical\nViaProxyName \"tinyproxy\"\n{more}\n"
        );
        let file = folder.0.join(name);
        std::fs::write(&file, text).unwrap();
        Server::start(Command::new("tinyproxy").args(["-d", "-c"]).arg(file), port)
    };
    let server = start("strict", "");
    let session = by(&format!("http://{}", server.address)).build().unwrap();
    let post = session.post(origin.url("/post")).body("some").send().unwrap();
    assert_eq!(post.status(), 200);
    drop(post);
    // It ends each connection behind its answer, and does not say so: what may run twice is sent
    // again.
    for path in ["/", "/found", "/", "/found"] {
        assert_eq!(session.get(origin.url(path)).send().unwrap().text().unwrap(), "hello");
    }
    assert_refuses(&session, tls.0.address, "403");
    let port = tls.0.address.port();
    let server = start("login", &format!("BasicAuth user s3cret\nConnectPort {port}"));
    let session = by(&format!("http://{}", server.address)).build().unwrap();
    assert_refuses(&session, tls.0.address, "407");
    let plain = session.get(origin.url("/")).send().unwrap();
    assert_eq!(plain.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    let session = by(&format!("http://user:s3cret@{}", server.address)).build().unwrap();
    assert_eq!(session.get(origin.url("/")).send().unwrap().text().unwrap(), "hello");
    tls.assert_reached(&session);
}

fn socks() {
    let (origin, tls) = (origin(), OpenSsl::start("-www"));
    let start = |login: &[&str]| {
        let port = free_port();
        let mut command = Command::new("microsocks");
        command.args(["-i", "127.0.0.1", "-p", &port.to_string()]).args(login);
        Server::start(&mut command, port)
    };
    let closed = free_port();
    let (open, locked) = (start(&[]), start(&["-u", "user", "-P", "s3cret"]));
    for url in [
        format!("socks5://{}", open.address),
        format!("socks5h://{}", open.address),
        format!("socks5://user:s3cret@{}", locked.address),
    ] {
        let session = by(&url).build().unwrap();
        for _ in 0..2 {
            assert_eq!(session.get(origin.url("/")).send().unwrap().text().unwrap(), "hello");
        }
        assert_eq!(session.stats().opened, 1);
        tls.assert_reached(&session);
        let error = session.post(format!("http://127.0.0.1:{closed}/")).send().unwrap_err();
        assert_eq!(error.cause(), Some(Cause::ProxyFailed), "{error:?}");
        assert!(!error.may_have_run(), "{error:?}");
    }
    for login in ["", "user:wrong@"] {
        let session = by(&format!("socks5://{login}{}", locked.address)).build().unwrap();
        assert_refuses(&session, tls.0.address, "user");
    }
}

/// HEAD, 204, 304, an empty file: nothing is unpacked, and the connection is kept.
fn nginx_bodies() {
    let nginx = Nginx::start(
        "gzip on; gzip_min_length 1; gzip_types text/plain; server { listen 127.0.0.1:PORT; \
         default_type text/plain; \
         location /204 { return 204; } \
         location /307 { return 307 /moved; } \
         location /moved { return 200 \"moved here\"; } \
         location /304 { add_header Content-Encoding gzip always; return 304; } \
         location /none { return 200; } \
         location / { client_max_body_size 5; return 200 \"hello hello hello hello\"; } }",
    );
    let session = Session::new().unwrap();
    for path in ["/204", "/304", "/none"] {
        let mut response = session.get(nginx.url(path)).send().unwrap();
        assert_eq!(response.bytes().unwrap(), b"", "{path}");
    }
    assert_eq!(session.head(nginx.url("/")).send().unwrap().text().unwrap(), "");
    let text = |path| session.get(nginx.url(path)).send().unwrap().text().unwrap();
    assert_eq!(text("/"), "hello hello hello hello");
    assert_eq!(text("/307"), "moved here");
    let small = session.put(nginx.url("/")).header("Expect", "100-continue").body("four");
    assert_eq!(small.send().unwrap().text().unwrap(), "hello hello hello hello");
    assert_eq!(session.stats().opened, 1);
    // The final answer in place of 100: nginx does not read the body.
    let large = session.put(nginx.url("/")).header("Expect", "100-continue").body("too long");
    assert_eq!(large.send().unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text("/"), "hello hello hello hello");
}

fn apache_bodies() {
    let folder = Folder::new("apache-bodies");
    let deflate = "LoadModule filter_module MODULES/mod_filter.so\n\
                   LoadModule deflate_module MODULES/mod_deflate.so\n\
                   LoadModule dir_module MODULES/mod_dir.so\nSetOutputFilter DEFLATE\n";
    let apache = apache(&folder, deflate);
    let files = folder.0.join("files");
    let words = "some words\n".repeat(200);
    std::fs::create_dir_all(files.join("folder")).unwrap();
    std::fs::write(files.join("folder/index.html"), &words).unwrap();
    std::fs::write(files.join("empty.txt"), "").unwrap();
    let url = |path: &str| format!("http://{}{path}", apache.address);
    let session = Session::new().unwrap();
    let mut packed = session.get(url("/folder")).send().unwrap();
    assert_eq!(packed.text().unwrap(), words, "behind the redirect that adds a slash");
    assert_eq!(packed.uri().path(), "/folder/");
    let since = packed.header("last-modified").unwrap().to_owned();
    // Apache says `Content-Encoding: gzip` to HEAD.
    let mut head = session.head(url("/folder/")).send().unwrap();
    assert_eq!(head.text().unwrap(), "");
    let same = session.get(url("/folder/")).header("If-Modified-Since", since).send().unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    drop(same);
    assert_eq!(session.get(url("/empty.txt")).send().unwrap().text().unwrap(), "");
    let part = session.get(url("/folder/")).header("Range", "bytes=5-9").send().unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!({ part }.text().unwrap(), "words");
    assert_eq!(session.stats().opened, 1, "{:?}", session.stats());
    let hinted = session.stats().hosts[0].hinted.map(|hint| hint.as_secs());
    assert_eq!(hinted, Some(5));
}

/// OpenSSL's own server, with a certificate that nobody signed.
struct OpenSsl(Server, #[expect(dead_code, reason = "its files are there as long as it")] Folder);

/// A key and a certificate for all tests: to make one takes a moment.
fn identity() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '))
            .args("-subj /CN=localhost -days 2 -keyout - -out -".split(' '))
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "openssl req");
        String::from_utf8(made.stdout).unwrap()
    })
}

impl OpenSsl {
    fn start(more: &str) -> OpenSsl {
        let port = free_port();
        let folder = Folder::new(&format!("openssl-{port}"));
        let file = folder.0.join("identity.pem");
        std::fs::File::create(&file).unwrap().write_all(identity().as_bytes()).unwrap();
        std::fs::write(folder.0.join("file.txt"), "whole\n".repeat(20_000)).unwrap();
        let mut command = Command::new("openssl");
        command.current_dir(&folder.0).args(["s_server", "-quiet", "-cert", "identity.pem"]);
        command.args(["-accept", &format!("127.0.0.1:{port}")]).args(more.split(' '));
        OpenSsl(Server::start(&mut command, port), folder)
    }

    fn assert_reached(&self, session: &Session) {
        let mut page = session.get(format!("https://{}/", self.0.address)).send().unwrap();
        assert!(page.text().unwrap().contains("s_server"));
    }
}

/// It answers in HTTP/1.0, without a length, and ends with a farewell.
fn farewells() {
    for version in ["-tls1_2", "-tls1_3"] {
        let server = OpenSsl::start(&format!("-WWW {version}"));
        let tls = Tls::new().danger_accept_any_certificate();
        let session = Session::builder().tls(tls).build().unwrap();
        for _ in 0..3 {
            let url = format!("https://{}/file.txt", server.0.address);
            let text = session.get(url).send().unwrap().text().unwrap();
            assert_eq!(text.len(), "whole\n".len() * 20_000, "{version}");
        }
    }
}
