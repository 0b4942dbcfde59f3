//! ZooKeeper's C client, as Debian ships it: the same program against Apache and against Ostler, through a proxy that cuts
//! its connection once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use ostler_conformance::proxy::Proxy;
use ostler_conformance::{Options, Server, apache, c, ostler};

/// What it printed: answers, and events, which come on another thread.
fn run(program: &Path, addr: SocketAddr) -> [Vec<String>; 2] {
    let proxy = Proxy::start(addr, None).unwrap();
    let mut command = Command::new(program);
    command.arg(proxy.addr().to_string()).arg(addr.to_string());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut answers, mut events) = (Vec::new(), Vec::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.as_str() {
            "cut" => assert_eq!(proxy.cut(), 1),
            event if event.starts_with("event ") => events.push(line),
            _ => answers.push(line),
        }
    }
    assert!(child.wait().unwrap().success(), "{answers:#?}\n{events:#?}");
    [answers, events]
}

#[test]
fn c_client_gets_the_same_answers() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = |at: usize| Options::new(dirs[at].path()).cfg("extendedTypesEnabled=true");
    let one = apache::Server::start(&options(0)).unwrap();
    let other = ostler::Server::start(&options(1)).unwrap();
    let program = c::compile("client", dirs[0].path()).unwrap();
    let [one, other] = std::thread::scope(|scope| {
        let running = [one.addr(), other.addr()].map(|addr| {
            scope.spawn({
                let program = &program;
                move || run(program, addr)
            })
        });
        running.map(|it| it.join().unwrap())
    });
    for (apache, ostler) in one.iter().zip(&other) {
        let differs = apache.iter().zip(ostler).position(|(apache, ostler)| apache != ostler);
        let at = differs.unwrap_or_default();
        let near = |lines: &[String]| lines[at.saturating_sub(3)..lines.len().min(at + 3)].join("\n  ");
        assert!(differs.is_none(), "line {at}\nApache:\n  {}\nOstler:\n  {}", near(apache), near(ostler));
        assert_eq!(apache.len(), ostler.len());
    }
    assert!(one[0].len() > 130 && one[1].len() == 6, "{one:#?}");
    for word in ["create /c: ok", "multi: bad version", "  31 digest:me:", "set what others may: not authenticated"] {
        assert!(one[0].iter().any(|line| line.starts_with(word)), "{word} is missing in {:#?}", one[0]);
    }
}
