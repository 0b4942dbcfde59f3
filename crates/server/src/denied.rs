//! What to tell of a file that can't be used: whose it is, who we are, and what to do about it.
//!
//! The usual story: somebody started the server as root once, and from then on its own account can't read what that run
//! wrote.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The user that this process acts for.
fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The error of an attempt to `what` the file or directory, with its path, and with what an operator has to know.
/// Keeps the kind of the error.
pub fn explain(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}{}", path.display(), hint(path, error.kind())))
}

/// What is to be said beside the error; nothing, if it is none of rights.
pub fn hint(path: &Path, kind: ErrorKind) -> String {
    match kind {
        ErrorKind::PermissionDenied => {}
        ErrorKind::ReadOnlyFilesystem => {
            return "; remount the file system, and look whether a disk error has made it read-only (dmesg)".to_owned();
        }
        _ => return String::new(),
    }
    // A file that is not there yet, or in a directory that does not let us see it, is up to that directory.
    let seen = path.ancestors().find_map(|path| fs::metadata(path).ok().map(|meta| (path, meta)));
    let Some((path, meta)) = seen else { return String::new() };
    let (path, owner, mode, user) = (path.display(), meta.uid(), meta.mode() & 0o7777, user());
    let advice = if owner == user {
        "give it the rights back (chmod)".to_owned()
    } else {
        format!("start the server as user {owner}, or give all files to user {user} (chown -R)")
    };
    format!("; {path} belongs to user {owner}, with mode {mode:04o}, and this process runs as user {user}: {advice}")
}

/// A warning about a directory, or a file in it, of another user: what this process writes into it may be out of that
/// user's reach later.
pub fn other_owner(dir: &Path) -> Option<String> {
    let listing = fs::read_dir(dir).ok()?;
    let files = listing.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    let itself = fs::metadata(dir).ok().map(|meta| (dir.to_owned(), meta));
    // The directory first, then the files in the order of their names.
    let mut others: Vec<_> = files.filter(|(_, meta)| meta.is_file() && meta.uid() != user()).collect();
    others.sort_by(|a, b| a.0.cmp(&b.0));
    let (path, meta) = itself.into_iter().filter(|(_, meta)| meta.uid() != user()).chain(others).next()?;
    let (path, owner, user) = (path.display(), meta.uid(), user());
    Some(format!(
        "{path} belongs to user {owner}, and this server runs as user {user}: a server that runs as user {owner} will not be \
         able to use what this one writes; start it as the owner of its files"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_explained_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no/such");
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
        let error = explain("opening", &path, &ErrorKind::PermissionDenied.into());
        let (shown, user) = (dir.path().display(), user());
        assert_eq!(
            error.to_string(),
            format!(
                "opening {}: permission denied; {shown} belongs to user {user}, with mode 0750, and this process runs as \
                 user {user}: give it the rights back (chmod)",
                path.display()
            )
        );
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(hint(&path, ErrorKind::NotFound), "");
        assert_eq!(other_owner(dir.path()), None);
    }
}
