//! A world can be forked at any moment: what comes of it then with other choices changes nothing in it.

use std::collections::BTreeSet;

use ostler_sim::world::{Keep, Outcome, Setup, World, run};
use zab::{Defect, Options};

/// When worlds are forked, in µs.
const FORK_US: u64 = 2_000_000;

fn begin(seed: u64, change: &dyn Fn(&mut Options)) -> World {
    let mut world = World::new(Setup::of_seed(seed), Keep::Hash, change);
    world.run_until(FORK_US);
    world
}

fn hash(outcome: &Outcome) -> (u64, u64) {
    (outcome.trace.hash(), outcome.trace.events())
}

#[test]
fn a_fork_changes_nothing_in_what_it_was_forked_from() {
    for seed in [3, 8, 17] {
        let alone = begin(seed, &|_| ());
        let world = begin(seed, &|_| ());
        let (past, events) = (world.trace().hash(), world.trace().events());
        let forks: Vec<World> = (1..5).map(|other| world.fork(other)).collect();
        assert!(events > 0 && forks.iter().all(|it| it.trace().hash() == past), "they have one past");
        let ends: Vec<Outcome> = forks.into_iter().map(World::finish).collect();
        assert!(ends.iter().all(|it| it.violation.is_none() && it.trace.events() > events));
        let futures: BTreeSet<_> = ends.iter().map(hash).collect();
        assert_eq!(futures.len(), ends.len(), "each fork has a future of its own");
        assert_eq!((world.trace().hash(), world.trace().events()), (past, events), "it stands where it stood");
        let again = hash(&world.fork(1).finish());
        let end = hash(&world.finish());
        assert_eq!(again, hash(&ends[0]), "the same fork, the same future");
        assert_eq!(end, hash(&alone.finish()), "as if nobody had forked it");
        assert!(!futures.contains(&end));
    }
}

#[test]
fn forks_find_what_the_world_itself_does_not() {
    let put_in = |options: &mut Options| {
        options.defects.insert(Defect::OwnLogDecides);
    };
    let found = (1..200).any(|seed| {
        let is_sound = run(Setup::of_seed(seed), Keep::Hash, &put_in).violation.is_none();
        is_sound && {
            let world = begin(seed, &put_in);
            (1..20).any(|other| world.fork(other).finish().violation.is_some())
        }
    });
    assert!(found, "in none of 200 worlds");
}
