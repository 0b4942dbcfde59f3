//! Makes a script that shows a difference short: drops steps, requests, and parts of multis, for as long as the
//! difference stays.

use super::step::{Request, Step, What};

/// A script as short as `tries` tries make it. `fails` says whether a script still shows the difference.
pub fn shrink(steps: Vec<Step>, mut tries: usize, mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut steps = steps;
    loop {
        let before = steps.clone();
        steps = fewer(steps, &mut tries, &mut |steps| fails(steps));
        for at in 0..steps.len() {
            let What::Ask(requests) = steps[at].what.clone() else { continue };
            let with = |requests: &[Request]| {
                let mut changed = steps.clone();
                changed[at].what = What::Ask(requests.to_vec());
                changed
            };
            let mut requests = fewer(requests, &mut tries, &mut |requests| fails(&with(requests)));
            for inside in 0..requests.len() {
                let inner = fewer(requests[inside].inner.clone(), &mut tries, &mut |inner| {
                    let mut changed = requests.clone();
                    changed[inside].inner = inner.to_vec();
                    fails(&with(&changed))
                });
                requests[inside].inner = inner;
                simpler(&mut requests, inside, &mut tries, &mut |requests| fails(&with(requests)));
            }
            steps[at].what = What::Ask(requests);
        }
        if steps == before || tries == 0 {
            return steps;
        }
    }
}

/// Drops halves, quarters, and so on, for as long as it still fails.
fn fewer<T: Clone>(items: Vec<T>, tries: &mut usize, fails: &mut impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut items = items;
    let mut size = items.len().div_ceil(2);
    while size > 0 {
        // From the end: what is there depends on what is before it.
        let mut end = items.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            if *tries == 0 {
                return items;
            }
            *tries -= 1;
            let mut without = items.clone();
            without.drain(start..end);
            if fails(&without) {
                items = without;
            }
            end = start;
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    items
}

/// Plain arguments for odd ones: no data, an open ACL, any version, no watch.
fn simpler(requests: &mut Vec<Request>, at: usize, tries: &mut usize, fails: &mut impl FnMut(&[Request]) -> bool) {
    const PLAIN: &[(&str, usize, &str)] = &[
        ("create", 2, "null"),
        ("create", 3, "open"),
        ("create", 4, "0"),
        ("create2", 0, "create"),
        ("container", 0, "create"),
        ("ttl", 0, "create"),
        ("set", 2, "null"),
        ("set", 3, "-1"),
        ("set-acl", 3, "-1"),
        ("delete", 2, "-1"),
    ];
    for (word, arg, plain) in PLAIN {
        let request = &requests[at];
        if request.word() != *word || request.words.get(*arg).is_none_or(|it| it == plain) || *tries == 0 {
            continue;
        }
        *tries -= 1;
        let mut changed = requests.clone();
        (*plain).clone_into(&mut changed[at].words[*arg]);
        if fails(&changed) {
            *requests = changed;
        }
    }
    if requests[at].words.last().is_some_and(|it| it == "watch") && *tries > 0 {
        *tries -= 1;
        let mut changed = requests.clone();
        changed[at].words.pop();
        if fails(&changed) {
            *requests = changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{generate, step};

    #[test]
    fn what_is_not_needed_goes() {
        // "Fails" when a znode is created before a multi sets it, whatever is around.
        let guilty = step::parse(
            "b: get /r; create /guilty 7 creator 1; exists /r\na: check-watches /r 3; multi { check /r 1, set /guilty 7 2 }; sync /r",
        );
        let guilty = guilty.unwrap();
        let mut steps = generate::script(3, 120, generate::Features::default());
        steps.insert(40, guilty[0].clone());
        steps.insert(90, guilty[1].clone());
        let mut asked = 0;
        let short = shrink(steps, 2000, |steps| {
            asked += 1;
            let text = step::print(steps);
            text.find("create /guilty").is_some_and(|at| {
                let multi = text[at..].find("multi {").map(|multi| at + multi);
                multi.is_some() && text[at..].lines().any(|line| line.contains("multi") && line.contains("set /guilty"))
            })
        });
        assert_eq!(step::print(&short), "b: create /guilty null open 0\na: multi { set /guilty 7 2 }\n");
        assert!(asked < 150, "{asked} tries");
    }

    #[test]
    fn it_ends_when_the_tries_are_used_up() {
        let steps = generate::script(4, 100, generate::Features::default());
        let mut asked = 0;
        let short = shrink(steps.clone(), 3, |_| {
            asked += 1;
            false
        });
        assert_eq!((short, asked), (steps, 3));
    }
}
