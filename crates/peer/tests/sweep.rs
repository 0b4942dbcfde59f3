//! Containers and TTL znodes whose time is up.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use ostler_tree::owner::{OwnerRules, ttl_owner};
use ostler_tree::restore::TreeBuilder;
use ostler_tree::{Tree, TreeConfig};
use support::talk::{connect, set_data};
use support::world::{Options, World};
use wire::txn::TxnEntry;
use wire::{Field, OpCode, SessionId, StatPersisted, Zxid};

const TTL_MS: i64 = 1000;
/// How long the time of those that are to stay is, in ms.
const LONG_MS: i64 = 1_000_000_000;

/// A tree with TTL znodes `/0`, `/1` and so on, all set last at `mtime`, with these times to live.
fn timed(mtime: i64, ttls: impl Iterator<Item = i64>) -> Tree {
    let owner_rules = OwnerRules { extended_types: true, emulate_353: false };
    let mut builder = TreeBuilder::new(TreeConfig { owner_rules, ..TreeConfig::default() });
    builder.node("", None, -1, &StatPersisted::default()).expect("a root");
    for (at, ttl) in ttls.enumerate() {
        let stat = StatPersisted { mtime, ephemeral_owner: ttl_owner(ttl), ..StatPersisted::default() };
        builder.node(&format!("/{at}"), None, -1, &stat).expect("a znode");
    }
    builder.finish(Zxid(0)).expect("a tree")
}

fn world(ttls: impl Iterator<Item = i64>) -> World {
    let options = Options { extended_types: true, shards: 1, ..Options::default() };
    World::of(1, options, timed(1_700_000_000_000, ttls))
}

/// Time goes on, and nobody looks at the clock.
fn wait(world: &mut World, ms: i64) {
    world.now.mono_us += ms as u64 * 1000;
    world.now.wall_ms += ms;
}

/// Looks at all of them that are to be looked at now; returns in how many pieces.
fn sweep(world: &mut World) -> usize {
    let mut pieces = 0;
    while world.pipeline.is_sweep_due(world.now) {
        world.pipeline.sweep(world.now, &world.shared);
        pieces += 1;
    }
    pieces
}

fn is_there(world: &World, path: &str) -> bool {
    world.shared.tree.read().get(path).is_some()
}

#[test]
fn a_set_that_is_on_its_way_saves_a_znode() {
    let mut world = world([TTL_MS, TTL_MS].into_iter());
    wait(&mut world, 70_000);
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    world.holds_log = true;
    world.request(client, 1, OpCode::SetData, &set_data("/1", b"renewed", -1));
    (0..1000).for_each(|_| world.step());
    let last = TxnEntry::from_slice(&world.entries.last().expect("an entry").bytes).expect("an entry").header.op;
    assert_eq!(last, OpCode::SetData, "it is proposed");
    assert_eq!(
        world.shared.tree.read().get("/1").and_then(|node| node.data().map(<[u8]>::len)),
        None,
        "and not applied"
    );
    sweep(&mut world);
    world.holds_log = false;
    world.settle();
    assert!(!is_there(&world, "/0"));
    assert!(is_there(&world, "/1"), "its time began anew");
    wait(&mut world, 70_000);
    sweep(&mut world);
    world.settle();
    assert!(!is_there(&world, "/1"), "and is over");
}

/// Each piece is followed by the next one at once, so that millions are looked at in time.
#[test]
fn all_of_them_are_looked_at_when_it_is_time() {
    let count = 5000;
    let mut world = world((1..=count).map(|at| if at == count { TTL_MS } else { LONG_MS }));
    assert_eq!(sweep(&mut world), 0, "not yet");
    wait(&mut world, 60_000);
    assert!(sweep(&mut world) >= 5000 / 512, "in pieces");
    world.settle();
    assert!(!is_there(&world, "/4999") && is_there(&world, "/0"));
    wait(&mut world, 1000);
    assert_eq!(sweep(&mut world), 0, "the next time is an interval later");
}
