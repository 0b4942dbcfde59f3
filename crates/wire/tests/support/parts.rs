//! Raw material for records: one set of parts makes an instance of each of them.

use ostler_wire::Acl;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Fields for any record.
#[derive(Debug, Clone)]
pub struct Parts {
    pub text: [Option<String>; 3],
    pub data: [Option<Vec<u8>>; 2],
    pub acl: Option<Vec<Acl>>,
    pub names: [Option<Vec<Option<String>>>; 5],
    pub int: [i32; 6],
    pub long: [i64; 9],
    pub flag: bool,
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::weighted(0.9, prop_oneof!["/[a-z/.]{0,8}", "[ -~]{0,12}", "\\PC{0,6}", Just(String::new())])
}

fn int() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), -12..120i32, Just(-1), Just(i32::MIN), Just(i32::MAX)]
}

fn long() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -2..20i64, Just(i64::MIN), Just(i64::MAX)]
}

fn acl() -> impl Strategy<Value = Option<Vec<Acl>>> {
    let entry = (int(), "[a-z]{0,6}", "[ -~]{0,8}").prop_map(|(perms, scheme, id)| Acl::new(perms, scheme, id));
    option::weighted(0.9, prop_oneof![vec(entry, 0..4), Just(vec![Acl::new(31, "world", "anyone")])])
}

/// Any parts.
pub fn parts() -> impl Strategy<Value = Parts> {
    let data = || option::weighted(0.9, vec(any::<u8>(), 0..24));
    let names = || option::weighted(0.8, vec(text(), 0..4));
    (
        [text(), text(), text()],
        [data(), data()],
        acl(),
        [names(), names(), names(), names(), names()],
        [int(), int(), int(), int(), int(), int()],
        [long(), long(), long(), long(), long(), long(), long(), long(), long()],
        any::<bool>(),
    )
        .prop_map(|(text, data, acl, names, int, long, flag)| Parts { text, data, acl, names, int, long, flag })
}
