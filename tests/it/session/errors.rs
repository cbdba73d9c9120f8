//! Errors as others handle them: with `?` into a box, and printed with all their sources, each word
//! once.

use std::error::Error as StdError;
use std::io::{self, Read};

use keepbeat::{Body, Cause, Loss, Session, Tls};

use super::server::{Server, ms};

type Boxed = Box<dyn StdError + Send + Sync + 'static>;

/// As anyhow and others print it.
fn printed(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut words = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        words.push(error.to_string());
        source = error.source();
    }
    words
}

fn request(url: &str) -> Result<String, Boxed> {
    Ok(Session::builder().connect_timeout(ms(2000)).build()?.get(url).send()?.text()?)
}

fn loss() -> Result<(), Boxed> {
    Err(Loss::new(Cause::Reset, "gone"))?
}

fn rejected() -> Result<(), Boxed> {
    Err(keepbeat::protocol::Rejected::wrong_reply("not that"))?
}

#[test]
fn every_error_goes_into_a_box_and_says_each_thing_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = Server::start(|conn| assert!(conn.write("no TLS\r\n\r\n")));
    let breaks = Server::start(|conn| {
        conn.request();
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello");
    });
    let session = Session::new().unwrap();
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    let mut response = session.get(breaks.url("/")).timeout(ms(200)).send().unwrap();
    let mut errors: Vec<Boxed> = vec![
        request("http://h:99999/").unwrap_err(),
        request(&format!("http://{closed}/")).unwrap_err(),
        request(&format!("https://{}/", plain.address)).unwrap_err(),
        request(&format!("http://{}/", plain.address)).unwrap_err(),
        response.text().unwrap_err().into(),
        Box::new(response.reader().read(&mut [0; 9]).unwrap_err()),
        session.put(breaks.url("/")).body(Body::reader(Fails)).send().unwrap_err().into(),
        Tls::new().ca_file("no/such/file").unwrap_err().into(),
        loss().unwrap_err(),
        rejected().unwrap_err(),
    ];
    #[cfg(feature = "json")]
    {
        let ok = Server::ok();
        let mut response = session.get(ok.url("/")).send().unwrap();
        errors.push(response.json::<serde_json::Value>().unwrap_err().into());
    }
    for error in &errors {
        let words = printed(&**error);
        for (n, word) in words.iter().enumerate() {
            assert!(!word.is_empty(), "{words:?}");
            let again = words[..n].iter().any(|before| before.contains(word.as_str()));
            assert!(!again, "said twice: {words:#?}");
        }
    }
    let all: Vec<_> = errors.iter().map(|error| error.to_string()).collect();
    for word in ["plaintext", "the disk is on fire", "not HTTP", "1 to 65535", "after 5 of 9"] {
        assert!(all.iter().any(|text| text.contains(word)), "{word}: {all:#?}");
    }
}
