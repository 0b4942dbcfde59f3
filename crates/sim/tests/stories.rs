//! Stories are told as they were before. `OSTLER_BLESS=1` writes them anew: look at each difference.

use std::path::Path;

use ostler_sim::world::STORIES;

#[test]
fn every_story_is_told_as_before() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    let mut differ = Vec::new();
    for story in STORIES {
        let file = dir.join(format!("{}.txt", story.name));
        let text = story.text();
        if std::env::var_os("OSTLER_BLESS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        if std::fs::read_to_string(&file).unwrap_or_default() != text {
            differ.push(story.name);
        }
        assert!(story.is_right(story.play().1.as_ref()), "{}: {text}", story.name);
    }
    assert!(differ.is_empty(), "these are told in another way than in {}: {differ:?}", dir.display());
}
