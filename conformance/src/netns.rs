//! Members in network namespaces of their own, each with three cables: two to the other members, of which the first can be pulled,
//! and one to their clients. So every member knows the others by the same addresses, as a reconfig wants it, and a partition is one of the
//! kernel's. It needs root; where that is missing, [`Lan::start`] says why, and [`links`](crate::links) do without.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

/// The cables of a member, two to the others and one to clients.
const CABLES: [&str; 3] = ["q", "r", "c"];

/// Namespaces and cables; they go when this is dropped.
#[derive(Debug)]
pub struct Lan {
    /// What all names begin with.
    prefix: String,
    /// The first two bytes of all addresses are 10 and the first of these, the third one is the second of these and the cable's.
    net: [u8; 2],
    ids: Vec<u8>,
}

impl Lan {
    /// For these members.
    ///
    /// # Errors
    /// No namespaces can be made here.
    pub fn start(ids: &[u8]) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let net = [100 + (pid % 100) as u8, ((pid / 100 + 31 * number) % 63) as u8 * 4];
        // A name of an interface has 15 letters at most.
        let lan = Self { prefix: format!("z{pid:x}x{:x}", number % 256), net, ids: ids.to_vec() };
        lan.lay().context("network namespaces can't be made here (they need root, and the command ip)")?;
        Ok(lan)
    }

    fn lay(&self) -> Result<()> {
        let p = &self.prefix;
        let bridge = |cable| format!("link add {p}{cable} type bridge\nlink set {p}{cable} up\n");
        let clients = format!("addr add {}/24 dev {p}c\n", self.address("c", 254));
        batch(None, &(CABLES.map(bridge).concat() + &clients))?;
        for &id in &self.ids {
            let ns = self.namespace(id);
            ip(&["netns", "add", &ns])?;
            let cable = |cable: &str| {
                let end = format!("{p}{cable}{id}");
                format!("link add {end} type veth peer name {cable} netns {ns}\nlink set {end} master {p}{cable} up\n")
            };
            batch(None, &CABLES.map(cable).concat())?;
            let end = |cable| format!("addr add {}/24 dev {cable}\nlink set {cable} up\n", self.address(cable, id));
            batch(Some(&ns), &("link set lo up\n".to_owned() + &CABLES.map(end).concat()))?;
        }
        Ok(())
    }

    /// The namespace of a member.
    pub fn namespace(&self, id: u8) -> String {
        format!("{}-{id}", self.prefix)
    }

    /// Where other members find it.
    pub fn host(&self, id: u8) -> Ipv4Addr {
        self.address("q", id)
    }

    /// Where they find it, too, if they look there.
    pub fn second(&self, id: u8) -> Ipv4Addr {
        self.address("r", id)
    }

    /// Where clients find it, at this port.
    pub fn client(&self, id: u8, port: u16) -> SocketAddr {
        SocketAddr::from((self.address("c", id), port))
    }

    /// Pulls a member's first cable to the others.
    pub fn cut(&self, id: u8) -> Result<()> {
        ip(&["link", "set", &format!("{}q{id}", self.prefix), "down"])
    }

    /// Puts it back.
    pub fn heal(&self, id: u8) -> Result<()> {
        ip(&["link", "set", &format!("{}q{id}", self.prefix), "up"])
    }

    fn address(&self, cable: &str, last: u8) -> Ipv4Addr {
        let number = CABLES.iter().position(|it| *it == cable).unwrap_or_default();
        Ipv4Addr::new(10, self.net[0], self.net[1] + number as u8, last)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // What was not made can't be removed.
        for &id in &self.ids {
            let _ = ip(&["netns", "del", &self.namespace(id)]);
        }
        for bridge in CABLES {
            let _ = ip(&["link", "del", &format!("{}{bridge}", self.prefix)]);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let done = Command::new("ip").args(args).output().context("starting ip")?;
    ensure!(done.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

fn batch(namespace: Option<&str>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting ip")?;
    let mut input = child.stdin.take().context("ip takes no lines")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    let done = child.wait_with_output()?;
    ensure!(done.status.success(), "ip: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}
