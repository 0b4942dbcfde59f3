//! Scripted conversations with Apache and with Ostler; the replies are compared byte for byte.
//!
//! Both servers are fresh and hear the same, so that even the zxids must be equal. What is masked or sorted, and nothing
//! else, is told in `ostler_conformance::script`. Where Ostler answers otherwise on purpose, the script leaves the case
//! out and [`deviations`] holds it, with the reason.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod acls;
mod deviations;
mod frames;
mod many_children;
mod multis;
mod quotas;
mod random;
mod reads;
mod sessions;
mod table;
mod watches;
mod writes;

use std::path::Path;

use anyhow::Result;
use ostler_conformance::script::{Talk, compare};
use ostler_conformance::{Options, Server, apache, java, ostler};

const NO_CHECKS: &str = "znode.container.checkIntervalMs=86400000";
/// Sessions that are silent for long, one beside the other: which of them ends first is not the question.
const NO_EXPIRY: &[&str] = &["minSessionTimeout=600000", "maxSessionTimeout=600000"];
/// Lets `super:secret` see everything.
const SUPER: &str = "DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

/// What the zxids of the two servers have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zxids {
    Equal,
    Apart,
}

/// Fresh servers with the lines `cfg`, and the same script for both.
fn converse(cfg: &[&str], zxids: Zxids, script: impl Fn(&mut Talk) -> Result<()> + Sync) -> Vec<String> {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = |at: usize| {
        // A busy machine may take longer than the minute after which containers without children go.
        let base = Options::new(dirs[at].path()).jvm(format!("-D{NO_CHECKS}")).cfg(NO_CHECKS);
        let has_own = cfg.iter().any(|line| line.starts_with("maxSessionTimeout="));
        let base = base.cfg("tickTime=500").cfg(SUPER);
        let base = if has_own { base } else { base.cfg("maxSessionTimeout=60000") };
        cfg.iter().fold(base, |options, line| options.cfg(*line))
    };
    let mut apache = apache::Server::start(&options(0)).unwrap();
    let mut ostler = ostler::Server::start(&options(1)).unwrap();
    let lines = compare([(apache.name(), apache.addr()), (ostler.name(), ostler.addr())], script).unwrap();
    // Killed: the sessions stay as they are.
    apache.kill().unwrap();
    ostler.kill().unwrap();
    if zxids == Zxids::Equal {
        assert_same_znodes(&apache.data_dir(), &ostler.data_dir());
    }
    lines
}

/// What is on the disks has the same znodes, in all that they are, seen or not.
fn assert_same_znodes(apache: &Path, ostler: &Path) {
    let znodes = |dir: &Path| {
        let dump = java::masked_dump(&java::dump_dir(dir).unwrap());
        dump.lines().filter(|line| line.starts_with("znode ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (one, other) = (znodes(apache), znodes(ostler));
    let differs = one.iter().zip(&other).find(|(one, other)| one != other);
    assert!(differs.is_none(), "Apache, then Ostler: {differs:#?}");
    assert_eq!(one.len(), other.len());
}

#[test]
fn replies_are_equal_to_the_byte() {
    let lines = converse(&[], Zxids::Equal, |talk| {
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
fn every_operation_answers_every_body_alike() {
    let lines = converse(NO_EXPIRY, Zxids::Equal, table::run);
    assert!(lines.len() > 3000, "only {} lines", lines.len());
}

#[test]
fn every_operation_answers_every_body_alike_with_ttl_znodes() {
    let cfg = [NO_EXPIRY, &["extendedTypesEnabled=true"]].concat();
    converse(&cfg, Zxids::Equal, table::run);
}

#[test]
fn replies_to_anything_are_equal() {
    let lines = converse(NO_EXPIRY, Zxids::Equal, |talk| (1..=6).try_for_each(|seed| random::run(talk, seed, 1000)));
    assert!(lines.len() > 4000, "only {} lines", lines.len());
}

#[test]
fn replies_are_equal_where_a_server_spends_a_zxid_more() {
    converse(&[], Zxids::Apart, |talk| {
        talk.hides_zxids = true;
        frames::malformed_writes(talk)
    });
}

#[test]
fn replies_are_equal_with_ttl_znodes() {
    converse(&["extendedTypesEnabled=true"], Zxids::Equal, writes::ttl);
}

/// A reconfig is not switched off, but a standalone server has no members to change.
#[test]
fn replies_to_a_reconfig_that_is_enabled_are_equal() {
    let lines = converse(&["reconfigEnabled=true"], Zxids::Equal, |talk| {
        talk.connect("a")?;
        reads::reconfig(talk)?;
        talk.close("a")
    });
    let refused = lines.iter().filter(|line| line.contains("err=-6")).count();
    assert!(refused == reads::RECONFIGS, "{lines:#?}");
}
