//! Quotas: the usage that clients read after each change, what is refused, `mntr`, and what a restart makes of it.

use std::path::Path;

use anyhow::Result;
use ostler_conformance::script::{OPEN, Talk, compare, create, create_acl, multi, path_version, set, watch};
use ostler_conformance::{Options, Server, apache, four_letter, ostler};

use super::random::Random;

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const CHECK: i32 = 13;
const MULTI: i32 = 14;
const CREATE2: i32 = 15;
const CREATE_CONTAINER: i32 = 19;

fn limits(of: &str) -> String {
    format!("/zookeeper/quota{of}/zookeeper_limits")
}

fn stats(of: &str) -> String {
    format!("/zookeeper/quota{of}/zookeeper_stats")
}

/// What clients see of a quota.
fn look(talk: &mut Talk, of: &str) -> Result<()> {
    talk.call("a", GET_DATA, &watch(&stats(of), false))?;
    talk.call("a", EXISTS, &watch(&stats(of), false))?;
    Ok(())
}

/// As `setquota` of Apache's shell does it.
fn set_quota(talk: &mut Talk, of: &str, text: &str) -> Result<()> {
    let mut directory = "/zookeeper/quota".to_owned();
    for name in of.split('/').skip(1) {
        directory = format!("{directory}/{name}");
        talk.call("a", CREATE, &create_acl(&directory, None, OPEN, 0))?;
    }
    talk.call("a", CREATE2, &create(&limits(of), text.as_bytes(), 0))?;
    talk.call("a", CREATE2, &create(&stats(of), b"count=0,bytes=0", 0))?;
    look(talk, of)
}

fn enforced(talk: &mut Talk) -> Result<()> {
    talk.connect("a")?;
    talk.part("hard limits");
    talk.call("a", CREATE, &create("/tenant", b"", 0))?;
    set_quota(talk, "/tenant", "count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=3")?;
    for i in 0..4 {
        talk.call("a", CREATE, &create(&format!("/tenant/{i}"), b"five!", 0))?;
        look(talk, "/tenant")?;
    }
    let long = Some(&b"much too long a text"[..]);
    for (data, version) in
        [(long, -1), (long, 7), (Some(b"four"), -1), (None, -1), (Some(b""), -1), (Some(b"12"), 9), (Some(b"12"), -1)]
    {
        talk.call("a", SET_DATA, &set("/tenant/0", data, version))?;
        look(talk, "/tenant")?;
    }
    for refused in ["/tenant/0/x", "/tenant/0", "/tenant/none/x", "/tenant/\u{1}", "/tenant/"] {
        talk.call("a", CREATE, &create(refused, b"", 0))?;
    }
    talk.part("hard limits in multis");
    let one = |name: &str| (CREATE, create(&format!("/tenant/{name}"), b"1", 0));
    talk.call("a", MULTI, &multi(&[(DELETE, path_version("/tenant/1", -1)), one("m")]))?;
    look(talk, "/tenant")?;
    talk.call("a", DELETE, &path_version("/tenant/1", -1))?;
    look(talk, "/tenant")?;
    // Each alone is within the limit.
    talk.call("a", MULTI, &multi(&[one("m1"), one("m2"), (CHECK, path_version("/tenant", 0)), one("m3")]))?;
    look(talk, "/tenant")?;
    talk.call("a", MULTI, &multi(&[(SET_DATA, set("/tenant", Some(b"123456"), -1)), one("m4")]))?;
    look(talk, "/tenant")?;
    talk.part("above a limit that was lowered");
    talk.call("a", SET_DATA, &set(&limits("/tenant"), Some(b"count=-1,bytes=-1=;byteHardLimit=4"), -1))?;
    look(talk, "/tenant")?;
    talk.call("a", SET_DATA, &set("/tenant", Some(b"1234567"), -1))?;
    talk.call("a", SET_DATA, &set("/tenant", Some(b"1"), -1))?;
    talk.call("a", SET_DATA, &set("/tenant", Some(b"123456"), -1))?;
    talk.call("a", CREATE, &create("/tenant/empty", b"", 1))?;
    look(talk, "/tenant")?;
    talk.part("soft limits");
    talk.call("a", SET_DATA, &set(&limits("/tenant"), Some(b"count=2,bytes=1"), -1))?;
    talk.call("a", CREATE_CONTAINER, &create("/tenant/soft", b"softly", 4))?;
    talk.call("a", SET_DATA, &set("/tenant/soft", Some(b"more softly"), -1))?;
    look(talk, "/tenant")?;
    odd_limits(talk)?;
    any_order(talk)?;
    ephemerals(talk)?;
    nested(talk)
}

fn odd_limits(talk: &mut Talk) -> Result<()> {
    talk.part("limits that are none");
    let texts = ["", "x", "count", "count=", "count=x", ",count=1", "=", ";,", "count==1", "count=9,bytes=9=;other=1"];
    for text in texts {
        talk.call("a", SET_DATA, &set(&limits("/tenant"), Some(text.as_bytes()), -1))?;
        talk.call("a", CREATE2, &create("/tenant/odd", b"o", 0))?;
        talk.call("a", SET_DATA, &set("/tenant/odd", Some(b"odd"), -1))?;
        talk.call("a", SET_DATA, &set("/tenant/odd", Some(b"ddo"), -1))?;
        talk.call("a", DELETE, &path_version("/tenant/odd", -1))?;
        look(talk, "/tenant")?;
    }
    talk.call("a", SET_DATA, &set(&limits("/tenant"), Some(b"count=100,bytes=1000"), -1))?;
    talk.part("usage that clients set");
    for text in ["", "count=7", "bytes=7", "count=1,bytes=2=;zeta=1;Alpha=2;\u{fffd}=3;\u{1f600}=4", "count==5;;,"] {
        talk.call("a", SET_DATA, &set(&stats("/tenant"), Some(text.as_bytes()), -1))?;
        look(talk, "/tenant")?;
        talk.call("a", SET_DATA, &set("/tenant", Some(b"abcdef"), -1))?;
        look(talk, "/tenant")?;
        talk.call("a", CREATE, &create("/tenant/one", b"12345", 0))?;
        look(talk, "/tenant")?;
        talk.call("a", DELETE, &path_version("/tenant/one", -1))?;
    }
    Ok(())
}

fn any_order(talk: &mut Talk) -> Result<()> {
    talk.part("limits and usage come and go");
    for step in 0..12 {
        match step {
            0 | 7 => talk.call("a", DELETE, &path_version(&limits("/tenant"), -1))?,
            2 | 9 => talk.call("a", CREATE2, &create(&limits("/tenant"), b"count=50,bytes=500", 0))?,
            4 | 8 => talk.call("a", DELETE, &path_version(&stats("/tenant"), -1))?,
            6 | 11 => talk.call("a", CREATE2, &create_acl(&stats("/tenant"), None, OPEN, 0))?,
            _ => talk.call("a", CREATE, &create(&format!("/tenant/order{step}"), b"ordered", 0))?,
        };
        look(talk, "/tenant")?;
    }
    talk.part("a quota for what is not there yet, and for all");
    set_quota(talk, "/later/on", "count=3,bytes=9")?;
    talk.call("a", CREATE, &create("/later", b"1234", 0))?;
    look(talk, "/later/on")?;
    talk.call("a", CREATE, &create("/later/on", b"12", 0))?;
    talk.call("a", CREATE, &create("/later/once", b"12", 0))?;
    look(talk, "/later/on")?;
    talk.call("a", CREATE2, &create("/zookeeper/quota/zookeeper_stats", b"all", 0))?;
    look(talk, "")?;
    talk.call("a", CREATE, &create("/later/on/x", b"12", 0))?;
    look(talk, "")?;
    Ok(())
}

fn ephemerals(talk: &mut Talk) -> Result<()> {
    talk.part("ephemerals");
    talk.connect("b")?;
    for i in 0..3 {
        talk.call("b", CREATE, &create(&format!("/later/on/e{i}"), b"mine", 1))?;
        look(talk, "/later/on")?;
    }
    talk.close("b")?;
    look(talk, "/later/on")
}

fn nested(talk: &mut Talk) -> Result<()> {
    talk.part("nested");
    set_quota(talk, "/tenant/0", "count=-1,bytes=-1=;countHardLimit=2")?;
    for name in ["a", "b", "c"] {
        talk.call("a", CREATE, &create(&format!("/tenant/0/{name}"), b"deep", 0))?;
        look(talk, "/tenant")?;
        look(talk, "/tenant/0")?;
    }
    talk.call("a", DELETE, &path_version(&limits("/tenant/0"), -1))?;
    talk.call("a", CREATE, &create("/tenant/0/d", b"deep", 0))?;
    look(talk, "/tenant")?;
    look(talk, "/tenant/0")?;
    talk.part("random");
    for seed in 1..=4 {
        random(talk, seed)?;
    }
    // So that counting anew changes nothing.
    for of in ["/tenant", "/q", "/q/a"] {
        talk.call("a", DELETE, &path_version(&stats(of), -1))?;
        talk.call("a", CREATE, &create(&stats(of), b"", 0))?;
        look(talk, of)?;
    }
    Ok(())
}

fn random(talk: &mut Talk, seed: u64) -> Result<()> {
    let mut random = Random(seed * 0x9e37_79b9);
    for directory in ["", "/a", "/a/b"] {
        talk.call("a", CREATE, &create(&format!("/q{directory}"), b"q", 0))?;
        talk.call("a", CREATE, &create(&format!("/zookeeper/quota/q{directory}"), b"q", 0))?;
    }
    for _ in 0..250 {
        let of = random.pick(&["/q", "/q/a", "/q/a/b"]);
        let path = format!("{of}{}", random.pick(&["", "/x", "/y", "/z"]));
        let data = vec![b'd'; random.below(12) as usize];
        let number = random.below(14) as i64 - 1;
        let hard = format!("count=-1,bytes=-1=;byteHardLimit={};countHardLimit={number}", number * 5);
        let soft = format!("count={number},bytes={}", number * 5);
        let text = random.pick(&[&*hard, &*soft]).as_bytes();
        match random.below(16) {
            0 => talk.call("a", CREATE, &create(&limits(of), text, 0))?,
            1 => talk.call("a", SET_DATA, &set(&limits(of), Some(text), -1))?,
            2 => talk.call("a", DELETE, &path_version(&limits(of), -1))?,
            3 | 4 => talk.call("a", CREATE2, &create(&stats(of), b"anything", 0))?,
            5 => talk.call("a", DELETE, &path_version(&stats(of), -1))?,
            6..=9 => talk.call("a", CREATE, &create(&path, &data, 0))?,
            10 | 11 => talk.call("a", SET_DATA, &set(&path, (!data.is_empty()).then_some(&data), -1))?,
            12 | 13 => talk.call("a", DELETE, &path_version(&path, -1))?,
            _ => {
                let other = format!("{of}/m{}", random.below(3));
                let ops = [
                    (SET_DATA, set(of, Some(&data), -1)),
                    (CREATE, create(&other, &data, 0)),
                    (DELETE, path_version(&path, -1)),
                ];
                let from = random.below(3) as usize;
                talk.call("a", MULTI, &multi(&ops[from..]))?
            }
        };
        for of in ["/q", "/q/a", "/q/a/b"] {
            talk.call("a", GET_DATA, &watch(&stats(of), false))?;
        }
    }
    Ok(())
}

/// What is seen by who comes later.
fn looks(talk: &mut Talk) -> Result<()> {
    talk.connect("a")?;
    for of in ["", "/tenant", "/tenant/0", "/later/on", "/q", "/q/a", "/q/a/b"] {
        look(talk, of)?;
    }
    Ok(())
}

fn quota_lines(server: &dyn Server) -> Vec<String> {
    let told = four_letter::ask(server.addr(), "mntr").unwrap();
    let mut lines: Vec<String> = told.lines().filter(|line| line.contains("_quota_")).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn start(kind: usize, dir: &Path) -> Box<dyn Server> {
    let options = Options::new(dir).cfg("tickTime=500").cfg("maxSessionTimeout=60000").cfg("enforceQuota=true");
    match kind {
        0 => Box::new(apache::Server::start(&options).unwrap()),
        _ => Box::new(ostler::Server::start(&options).unwrap()),
    }
}

/// Starts Apache's and ours in these directories, talks to both, compares `mntr`, and kills them.
fn round(dirs: [&Path; 2], script: impl Fn(&mut Talk) -> Result<()> + Sync) -> (Vec<String>, Vec<String>) {
    let mut servers = [start(0, dirs[0]), start(1, dirs[1])];
    let told = compare([0, 1].map(|at| (servers[at].name(), servers[at].addr())), script).unwrap();
    let lines = [0, 1].map(|at| quota_lines(&*servers[at]));
    assert_eq!(lines[0], lines[1], "mntr of Apache, then of Ostler");
    for server in &mut servers {
        server.kill().unwrap();
    }
    let [first, _] = lines;
    (told, first)
}

#[test]
fn quotas_are_kept_and_enforced_as_apache_does() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (one, other) = (dirs[0].path(), dirs[1].path());
    let (told, mntr) = round([one, other], enforced);
    assert!(told.len() > 1000, "only {} lines", told.len());
    assert!(mntr.iter().any(|line| line.starts_with("zk_tenant_quota_exceeded_error_per_namespace\t")), "{mntr:#?}");
    super::assert_same_znodes(&one.join("data"), &other.join("data"));
    // Started again, then each with the directory of the other, and back.
    let (_, again) = round([one, other], looks);
    assert!(again.iter().any(|line| line.starts_with("zk_tenant_quota_count_usage_per_namespace\t")), "{again:#?}");
    round([other, one], looks);
    round([one, other], looks);
}
