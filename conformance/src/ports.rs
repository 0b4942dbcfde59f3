//! Loopback ports for the servers of tests: below those that the system gives to whoever connects, and no two processes that
//! run tests take the same.
//!
//! A port of the system's range that was free a moment ago may be the near end of somebody's connection when a server comes
//! to listen on it, or comes back to it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

/// So many, from the first one on.
const PORT_FIRST: u16 = 12_000;
const PORTS: u16 = 18_000;
/// So many for each process that runs tests.
const BLOCK: u16 = 400;

/// Three loopback addresses whose ports are free.
pub fn free_addrs() -> Result<[SocketAddr; 3]> {
    let one = || free_port().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    Ok([one()?, one()?, one()?])
}

/// A loopback port that is free; nobody else is given it soon.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = block()?;
    for _ in 1..BLOCK {
        let port = first + 1 + NEXT.fetch_add(1, Ordering::Relaxed) % (BLOCK - 1);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no loopback port from {first} to {} is free", first + BLOCK - 1)
}

/// The first port of a block that no other process takes members' ports from while this one runs, even those of members
/// that are down: whoever has the block listens there.
fn block() -> Result<u16> {
    static MINE: Mutex<Option<(u16, TcpListener)>> = Mutex::new(None);
    let mut mine = MINE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((first, _)) = &*mine {
        return Ok(*first);
    }
    let blocks = PORTS / BLOCK;
    let offset = (std::process::id() % u32::from(blocks)) as u16;
    for number in 0..blocks {
        let first = PORT_FIRST + (offset + number) % blocks * BLOCK;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, first)) {
            *mine = Some((first, listener));
            return Ok(first);
        }
    }
    bail!("all {blocks} blocks of ports from {PORT_FIRST} on are taken")
}
