//! Apache's Java client and Curator's recipes: the same program against Apache and against Ostler, through a proxy that
//! cuts its connections when it says so.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;

use ostler_conformance::proxy::Proxy;
use ostler_conformance::{Options, Server, apache, java, ostler};

fn run(addr: SocketAddr) -> Vec<String> {
    let proxy = Proxy::start(addr, None).unwrap();
    let mut command = java::program("Recipes", &[]).unwrap();
    command.args([proxy.addr().to_string(), addr.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The client's own log comes to the same place.
        let Some(line) = line.unwrap().strip_prefix("> ").map(str::to_owned) else { continue };
        if line == "cut" {
            assert!(proxy.cut() > 0);
        }
        told.push(line);
    }
    assert!(child.wait().unwrap().success(), "{}", told.join("\n"));
    told
}

#[test]
fn java_recipes_get_the_same_answers() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = |at: usize| Options::new(dirs[at].path()).cfg("extendedTypesEnabled=true");
    let one = apache::Server::start(&options(0)).unwrap();
    let other = ostler::Server::start(&options(1)).unwrap();
    let [one, other] = std::thread::scope(|scope| {
        let running = [one.addr(), other.addr()].map(|addr| scope.spawn(move || run(addr)));
        running.map(|it| it.join().unwrap())
    });
    for (at, (apache, ostler)) in one.iter().zip(&other).enumerate() {
        let before = one[at.saturating_sub(5)..at].join("\n  ");
        assert_eq!(apache, ostler, "Apache, then Ostler, after\n  {before}");
    }
    assert_eq!(one.len(), other.len());
    assert!(one.len() > 300 && one.iter().filter(|line| *line == "cut").count() == 3, "{}", one.join("\n"));
}
