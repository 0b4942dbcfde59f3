//! Apache's Java client and Curator's recipes: the same program against Apache and against Ostler, through a proxy that
//! cuts its connections when it says so.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use ostler_conformance::proxy::{Proxy, Tamper};
use ostler_conformance::{Options, Server, apache, java, ostler};

/// What the program prints, line by line. What it does through `straight` is not cut.
fn run(cut: SocketAddr, straight: SocketAddr) -> Vec<String> {
    let proxy = Proxy::start(cut, None).unwrap();
    let mut command = java::program("Recipes", &[]).unwrap();
    command.args([proxy.addr().to_string(), straight.to_string()]);
    let mut child = Ending(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut told = Vec::new();
    for line in BufReader::new(child.0.stdout.take().unwrap()).lines() {
        // The client's own log comes to the same place.
        let Some(line) = line.unwrap().strip_prefix("> ").map(str::to_owned) else { continue };
        if line == "cut" {
            assert!(proxy.cut() > 0);
        }
        told.push(line);
    }
    assert!(child.0.wait().unwrap().success(), "it failed after\n  {}", told.join("\n  "));
    told
}

/// A program that ends when the test does.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first line that two runs do not share, and what was before it.
fn difference(one: &[String], other: &[String]) -> Option<String> {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    if at == one.len().max(other.len()) {
        return None;
    }
    let before = one[at.saturating_sub(5)..at].join("\n  ");
    let line = |of: &[String]| of.get(at).map_or_else(|| "(nothing more)".to_owned(), Clone::clone);
    Some(format!(
        "after {at} lines, the last ones\n  {before}\none says\n  {}\nthe other\n  {}",
        line(one),
        line(other)
    ))
}

#[test]
fn java_recipes_get_the_same_answers() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = |at: usize| Options::new(dirs[at].path()).cfg("extendedTypesEnabled=true");
    let apache = apache::Server::start(&options(0)).unwrap();
    let ostler = ostler::Server::start(&options(1)).unwrap();
    let [apache, ostler] = std::thread::scope(|scope| {
        let running = [apache.addr(), ostler.addr()].map(|addr| scope.spawn(move || run(addr, addr)));
        running.map(|it| it.join().unwrap())
    });
    let difference = difference(&apache, &ostler);
    assert!(difference.is_none(), "Apache, then Ostler: {}", difference.unwrap_or_default());
    let cuts = apache.iter().filter(|line| *line == "cut").count();
    assert!(apache.len() > 300 && cuts == 3, "{}", apache.join("\n"));
}

/// A server that says NotEmpty where it should say BadVersion, and one that falsifies a byte that a queue holds: the
/// program's lines show it, near its beginning and near its end.
#[test]
fn a_false_answer_is_found_and_its_line_is_shown() {
    let run = |tamper: Option<Tamper>| {
        let dir = tempfile::tempdir().unwrap();
        let server = ostler::Server::start(&Options::new(dir.path()).cfg("extendedTypesEnabled=true")).unwrap();
        let false_one = Proxy::start(server.addr(), tamper).unwrap();
        run(server.addr(), false_one.addr())
    };
    let (code, queue): (Tamper, Tamper) = (
        |frame| {
            if frame.get(12..16) == Some((-103_i32).to_be_bytes().as_slice()) {
                frame[12..16].copy_from_slice(&(-111_i32).to_be_bytes());
            }
        },
        |frame| {
            // What the queue's taker gets for its second element: a byte of data and a Stat.
            if frame.get(16..21) == Some(&[0, 0, 0, 1, 1]) && frame.len() == 16 + 5 + 68 {
                frame[20] = 9;
            }
        },
    );
    let [honest, code, queue] = std::thread::scope(|scope| {
        [None, Some(code), Some(queue)].map(|tamper| scope.spawn(move || run(tamper))).map(|it| it.join().unwrap())
    });
    let shown = difference(&honest, &code).unwrap();
    assert!(shown.contains("set -103\nthe other\n  set -111"), "{shown}");
    let shown = difference(&honest, &queue).unwrap();
    assert!(shown.contains("queue 0 1 2\nthe other\n  queue 0 9 2"), "{shown}");
}
