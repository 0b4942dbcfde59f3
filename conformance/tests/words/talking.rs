//! How words come: slowly, where they are not allowed, many at once, and what is not quite a word.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{Side, compare, sides};

const WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr", "stat",
    "stmk", "wchc", "wchp", "wchs",
];

/// Sends bytes one by one, and everything that comes back.
fn slowly(side: &Side, bytes: &[u8]) -> String {
    let mut stream = open(side);
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
        // Each byte is a packet of its own.
        std::thread::sleep(Duration::from_millis(5));
    }
    all(&mut stream)
}

fn open(side: &Side) -> TcpStream {
    let stream = TcpStream::connect(side.addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// A word from 127.0.0.2.
fn from_elsewhere(side: &Side, bytes: &[u8]) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&side.addr().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    all(&mut stream)
}

fn all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn at_once(side: &Side, bytes: &[u8]) -> String {
    let mut stream = open(side);
    // One that is refused may be closed before this.
    let _ = stream.write_all(bytes);
    all(&mut stream)
}

#[test]
fn words_that_are_not_allowed() {
    compare(&["4lw.commands.whitelist=ruok"], |side| {
        let mut noted: Vec<String> = WORDS.iter().filter(|word| **word != "srvr").map(|word| side.word(word)).collect();
        noted.push(at_once(side, b"\xff\xf4\xff\xfd"));
        assert!(side.word("srvr").contains("Mode: standalone"));
        noted
    });
}

#[test]
fn words_come_as_they_come() {
    compare(&[], |side| {
        let mut noted = vec![
            slowly(side, b"ruok"),
            slowly(side, b"isro"),
            at_once(side, b"ruok\n"),
            at_once(side, b"ruokruok"),
            at_once(side, b"\xff\xf4\xff\xfd"),
            at_once(side, b"RUOK"),
            at_once(side, b"what"),
            at_once(side, b"gtmk"),
            at_once(side, b"stmk\0\0\0\0\0\0\0\x05"),
            at_once(side, b"gtmk"),
            at_once(side, b"stmk\xff\xff\xff\xff\xff\xff\xff\xff"),
            at_once(side, b"gtmk"),
            at_once(side, b"stmk"),
            at_once(side, b"stmk\0\0"),
            at_once(side, b"gtmk"),
        ];
        // A client that is connected can't ask: the four bytes are a length there.
        side.connect("a");
        let client = side.clients.get_mut("a").unwrap();
        client.connection.send_bytes(b"ruok").unwrap();
        noted.push(format!("{:?}", client.connection.frame_or_end().unwrap()));
        noted
    });
}

#[test]
fn a_connection_of_a_word_counts_among_those_of_its_address() {
    compare(&["maxClientCnxns=3"], |side| {
        let mut held: Vec<_> = (0..3).map(|_| open(side)).collect();
        // The three are there when the third is listed.
        held[0].write_all(b"stat").unwrap();
        let answer = all(&mut held[0]);
        assert!(answer.contains("Connections: "), "{answer}");
        held.remove(0);
        let mut again = open(side);
        again.write_all(b"ru").unwrap();
        // Another address has a count of its own. Apache counts a moment after it accepts.
        while from_elsewhere(side, b"stat").lines().filter(|line| line.starts_with(" /127.0.0.1:")).count() < 3 {}
        let refused = at_once(side, b"ruok");
        again.write_all(b"ok").unwrap();
        vec![refused, all(&mut again), at_once(side, b"ruok")]
    });
}

#[test]
fn a_flood_of_words_is_answered() {
    let [_, mut ostler] = sides(&["maxClientCnxns=0"]);
    ostler.connect("a");
    let addr = ostler.addr();
    let ask = |word: &'static str| {
        std::thread::spawn(move || {
            for _ in 0..20 {
                let mut stream = TcpStream::connect(addr).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                stream.write_all(word.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(!answer.is_empty() || word == "hash", "{word}");
            }
        })
    };
    let asking: Vec<_> = WORDS.iter().filter(|word| **word != "stmk").map(|word| ask(word)).collect();
    for _ in 0..50 {
        ostler.ping("a");
    }
    for thread in asking {
        thread.join().unwrap();
    }
}

#[test]
fn one_who_asks_and_does_not_read_stops_nobody() {
    let [_, mut ostler] = sides(&["maxClientCnxns=0"]);
    ostler.connect("a");
    for n in 0..3000 {
        let path = format!("/{}{n}", "long".repeat(1000));
        ostler.call("a", 3, &ostler_conformance::script::watch(&path, true));
    }
    // So many more than are answered at once that who waits for them is given up, each with more text than fits into its
    // socket.
    let deaf: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = open(&ostler);
            stream.write_all(b"wchp").unwrap();
            stream
        })
        .collect();
    ostler.ping("a");
    assert_eq!(ostler.word("ruok"), "imok");
    assert!(ostler.word("mntr").contains("zk_watch_count\t3000\n"));
    // Those who list connections, or set something back, do not wait for them.
    assert!(ostler.word("stat").contains("Node count: "));
    assert!(ostler.word("cons").contains("sid=0x"));
    assert_eq!(ostler.word("crst"), "Connection stats reset.\n");
    assert_eq!(ostler.word("srst"), "Server stats reset.\n");
    drop(deaf);
    assert!(ostler.word("wchp").lines().count() > 6000);
}
