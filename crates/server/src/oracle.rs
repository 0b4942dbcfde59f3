//! The file of an oracle (`oraclePath`): may this one of two participants lead alone? Whoever decides that writes it; what the
//! answer means is decided in `zab`, and there it counts only while no follower is connected.
//!
//! Source: Apache `QuorumOracleMaj.askOracle`, which reads the file at each decision. Ours is read again and again.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use node::Input;
use zab::ensemble;

use crate::core::Core;

/// How long an answer counts, about.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Tells the machines what it says, until the server stops.
pub fn watch(core: &Core, file: &Path) {
    let Some(member) = &core.member else { return };
    let mut said = false;
    loop {
        let says = ask(file);
        if says != said {
            let leave = if says { "lets" } else { "does not let" };
            tracing::warn!("the oracle ({}) {leave} this server lead alone", file.display());
            said = says;
            core.handle_input(Input::Ensemble(ensemble::Input::Oracle(says)));
        }
        if !member.pause(ASK_EVERY) {
            return;
        }
    }
}

/// It begins with a 1. A file that can't be read allows nothing.
fn ask(file: &Path) -> bool {
    let mut first = [0];
    File::open(file).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *b"1"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn only_a_one_lets_a_server_lead_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("oracle");
        assert!(!ask(&file), "it is not there");
        for (text, says) in [("", false), ("0", false), ("1", true), ("1\n", true), (" 1", false), ("11", true)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(ask(&file), says, "{text:?}");
        }
    }
}
