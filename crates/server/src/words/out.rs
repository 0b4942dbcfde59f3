//! Where the answer to a word goes: written as it is made, so that a long one is never in memory as a whole.

use std::cell::Cell;
use std::time::Duration;

use tokio::net::TcpStream;

/// How long the socket may take nothing because the other end does not read; others wait for its turn meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

/// Apache hands its socket pieces of this many characters, and counts each as a packet.
const PACKET: u64 = 8192;

/// The other end is gone, or does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// A socket, for as long as its word is answered.
#[derive(Debug)]
pub struct Out<'a> {
    stream: &'a TcpStream,
    close: &'a Cell<bool>,
    bytes: u64,
}

impl<'a> Out<'a> {
    /// To this socket, until `close` is set.
    pub fn new(stream: &'a TcpStream, close: &'a Cell<bool>) -> Self {
        Self { stream, close, bytes: 0 }
    }

    /// Writes all of it.
    pub async fn push(&mut self, text: &str) -> Result<(), Gone> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let ready = tokio::time::timeout(PATIENCE, self.stream.writable()).await;
            if self.close.get() || !matches!(ready, Ok(Ok(()))) {
                return Err(Gone);
            }
            match self.stream.try_write(rest) {
                Ok(n) => {
                    self.bytes += n as u64;
                    rest = &rest[n..];
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// How many packets Apache would have counted.
    pub fn packets(&self) -> u64 {
        self.bytes.div_ceil(PACKET)
    }
}
