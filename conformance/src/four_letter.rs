//! Four-letter words over a plain socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Sends `word` and returns everything the server says until it closes the connection.
pub fn ask(addr: SocketAddr, word: &str) -> Result<String> {
    let limit = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&addr, limit).with_context(|| format!("connecting to {addr}"))?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("reading the answer of {addr} to {word}"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Does it answer `ruok` with `imok`? Does not wait for the end of the connection: an Apache server that is still
/// starting may answer and then forget to close it.
pub fn is_ok(addr: SocketAddr) -> bool {
    let limit = Duration::from_secs(1);
    let asked = || -> std::io::Result<[u8; 4]> {
        let mut stream = TcpStream::connect_timeout(&addr, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"ruok")?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| &answer == b"imok")
}
