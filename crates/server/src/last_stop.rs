//! A server's word for the next start ([`LastStop`]), in its lock's file.

use std::path::Path;

use storage::last_stop::BOOT_ID;
pub use storage::last_stop::LastStop;

use crate::disk::DirLock;

/// Linux's name for this run of the machine.
pub fn boot() -> Option<String> {
    let id = std::fs::read_to_string(Path::new(BOOT_ID)).ok().map(|id| id.trim().to_owned());
    id.filter(|id| !id.is_empty())
}

/// Of a server that runs now.
pub fn running() -> LastStop {
    LastStop { boot: boot(), closed: None }
}

/// Leaves it for the next start. Where there is no room for it, that one only knows less.
pub fn leave(word: &LastStop, lock: &DirLock) {
    if let Err(e) = lock.write(&word.to_string()) {
        tracing::warn!("the next start will know less of how this server ended: {e}");
    }
}

/// Reads it.
pub fn of(lock: &DirLock) -> LastStop {
    match lock.read() {
        Ok(text) => LastStop::parse(&text),
        Err(e) => {
            tracing::debug!("what the last server has left in its lock can't be read: {e}");
            LastStop::default()
        }
    }
}
