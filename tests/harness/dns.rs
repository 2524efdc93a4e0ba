//! A DNS server over TCP that says of each name what the test says, and nothing of a cache.
//!
//! In: names with an IPv4 address. Out: its address on loopback. It knows questions for one name each, and answers without compression but
//! that of the name asked for (RFC 1035 §4).

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server that runs as long as the test program.
pub struct Dns {
    /// Where it is asked.
    pub address: SocketAddr,
    names: Arc<Mutex<BTreeMap<String, Ipv4Addr>>>,
}

/// How long its answers hold: the tiers ask again after five seconds at the earliest.
const TTL_SECONDS: u32 = 1;

/// Record type and class of IPv4 addresses.
const A_IN: [u8; 4] = [0, 1, 0, 1];

// === impl Dns ===

impl Dns {
    /// Starts one that knows no name.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the server of a test, outside of every tier"
    )]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let names = Arc::new(Mutex::new(BTreeMap::new()));
        let known = Arc::clone(&names);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let known = Arc::clone(&known);
                thread::spawn(move || {
                    // Its end is that of the connection.
                    let _ = serve(stream, &known);
                });
            }
        });
        Self { address, names }
    }

    /// From now on a name has this address.
    ///
    /// # Panics
    /// When a thread of the server has.
    pub fn says(&self, name: &str, address: Ipv4Addr) {
        let mut names = self.names.lock().expect("no thread panics");
        names.insert(name.to_owned(), address);
    }
}

fn serve(mut stream: TcpStream, known: &Mutex<BTreeMap<String, Ipv4Addr>>) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let answer = answer(&question, known).ok_or(io::ErrorKind::InvalidData)?;
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
}

fn answer(question: &[u8], known: &Mutex<BTreeMap<String, Ipv4Addr>>) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut at = HEADER;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = question.get(at..at + 4)?;
    let address = known.lock().ok()?.get(&labels.join(".")).copied();
    let found = address.filter(|_| kind == A_IN);
    // A response, recursion as asked for and available; 3: there is no such name.
    let code = if address.is_some() { 0 } else { 3 };
    let answers = u8::from(found.is_some());
    let mut bytes = question.get(..2)?.to_vec();
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
    bytes.extend(question.get(HEADER..at + 4)?);
    if let Some(address) = found {
        bytes.extend([0xc0, 12]);
        bytes.extend(A_IN);
        bytes.extend(TTL_SECONDS.to_be_bytes());
        bytes.extend([0, 4]);
        bytes.extend(address.octets());
    }
    Some(bytes)
}
