//! File descriptors: as many as the system gives, and some kept back from clients, since a server that can't open its next
//! log file has to end.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the server itself needs: logs, snapshots, directories, runtimes, the listener, four-letter words.
const OWN: u64 = 64;

/// Raises the limit to what is allowed, as a JVM does, and says how many connections it leaves room for.
pub fn room_for_connections() -> u32 {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        limit = raised;
    }
    let Some(all) = limit.current else { return u32::MAX };
    let own = OWN.min(all / 2);
    if all < 4 * OWN {
        tracing::warn!("only {all} open files are allowed, which leaves {} for connections: see ulimit -n", all - own);
    }
    u32::try_from(all - own).unwrap_or(u32::MAX)
}
