//! Scripted conversations with Apache and with Ostler; the replies are compared byte for byte.
//!
//! Both servers are fresh and hear the same, so that even the zxids must be equal. What is masked or sorted, and nothing
//! else, is told in `ostler_conformance::script`. Where Ostler answers otherwise on purpose, the script leaves the case
//! out and [`deviations`] holds it, with the reason.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod acls;
mod deviations;
mod frames;
mod multis;
mod reads;
mod sessions;
mod watches;
mod writes;

use anyhow::Result;
use ostler_conformance::script::{Talk, compare};
use ostler_conformance::{Options, Server, apache, ostler};

/// Lets `super:secret` see everything.
const SUPER: &str = "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

/// Fresh servers with the lines `cfg`, and the same script for both.
fn converse(cfg: &[&str], script: impl Fn(&mut Talk) -> Result<()> + Sync) -> Vec<String> {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = |at: usize| {
        let base = Options::new(dirs[at].path()).cfg("tickTime=500").cfg("maxSessionTimeout=60000").cfg(SUPER);
        cfg.iter().fold(base, |options, line| options.cfg(*line))
    };
    let apache = apache::Server::start(&options(0)).unwrap();
    let ostler = ostler::Server::start(&options(1)).unwrap();
    compare([(apache.name(), apache.addr()), (ostler.name(), ostler.addr())], script).unwrap()
}

#[test]
fn replies_are_equal_to_the_byte() {
    let lines = converse(&[], |talk| {
        writes::run(talk)?;
        reads::run(talk)?;
        acls::run(talk)?;
        multis::run(talk)?;
        watches::run(talk)?;
        sessions::run(talk)?;
        frames::run(talk)
    });
    assert!(lines.len() > 400, "only {} lines", lines.len());
}

#[test]
fn replies_are_equal_where_a_server_spends_a_zxid_more() {
    converse(&[], |talk| {
        talk.hides_zxids = true;
        frames::malformed_writes(talk)
    });
}

#[test]
fn replies_are_equal_with_ttl_znodes() {
    converse(&["extendedTypesEnabled=true"], writes::ttl);
}

#[test]
#[ignore = "quotas are not kept yet"]
fn replies_are_equal_with_quotas_enforced() {
    converse(&["enforceQuota=true"], writes::quotas);
}
