//! A server in a test's own process.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use ostler_server::{Config, Environment, Running};

/// Starts one in this folder, at a port that is free, with these lines more.
pub fn start(dir: &Path, more: &str) -> Running {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir_text = dir.display();
    let text = format!("dataDir={dir_text}/data\nclientPortAddress=127.0.0.1\nclientPort={port}\n{more}\n");
    let config = Config::parse(&dir.join("zoo.cfg"), text.as_bytes(), &Environment::default()).unwrap();
    ostler_server::start(&config, Arc::new(|why: String| panic!("{why}")), &mut |_| ()).unwrap()
}
