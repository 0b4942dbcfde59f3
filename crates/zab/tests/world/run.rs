//! One random world from beginning to end.

use ostler_zab::Options;

use super::schedule::Plan;
use super::{Random, World};

/// Runs the world of this seed, and heals it. `change` sets what is wrong with the servers. The world makes the elections.
pub fn run(seed: u64, change: impl Fn(&mut Options)) -> Result<World, String> {
    run_from(seed, 0, |voters, observers| World::new(voters, observers, &change))
}

/// The same with elections that the servers hold among themselves.
pub fn run_ensemble(seed: u64, change: impl Fn(&mut Options)) -> Result<World, String> {
    run_from(seed, 0, |voters, observers| World::with_elections(voters, observers, &change))
}

/// The same with up to six reconfigs; where others have observers, these have servers that are in no configuration.
pub fn run_reconfig(seed: u64, change: impl Fn(&mut Options)) -> Result<World, String> {
    run_from(seed, 6, |voters, others| World::with_reconfig(voters, 1 + others, &change))
}

fn run_from(seed: u64, reconfigs: usize, begin: impl Fn(i64, i64) -> World) -> Result<World, String> {
    let mut random = Random(seed);
    let (voters, observers) = [(3, 0), (3, 1), (5, 0), (4, 1), (2, 0), (1, 1)][random.below(6)];
    let mut world = begin(voters, observers);
    let mut plan = Plan::of(&mut random);
    // Who is left must be a quorum: a server that lost its disk does not vote.
    plan.wipes = if random.one_in(3) { (voters as usize - 1) / 2 } else { 0 };
    if reconfigs > 0 {
        plan.reconfigs = 1 + random.below(reconfigs);
        plan.wipes = 0;
        plan.proposals += 4;
    }
    let is_traced = std::env::var("OSTLER_ZAB_TRACE").is_ok();
    for _ in 0..plan.steps {
        if plan.blocks > 0 && random.one_in(30) {
            let ids = world.ids();
            let pair = (ids[random.below(ids.len())], ids[random.below(ids.len())]);
            world.blocked.insert(pair);
            plan.blocks -= 1;
        }
        if random.one_in(60) {
            world.blocked.clear();
        }
        let action = world.random_step(&mut random, &mut plan);
        if is_traced {
            println!("{}", world.describe(&action));
        }
        world.apply(&action, Some(&mut random))?;
    }
    if world.heal(&mut random)? { Ok(world) } else { Err("it does not heal".to_owned()) }
}
