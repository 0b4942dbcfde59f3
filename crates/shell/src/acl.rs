//! ACLs as zkCli writes them: `scheme:id:perms`, several with commas, perms of `crwda`. Source: `cli.AclParser`,
//! `ZKUtil.getPermString`.

use zookeeper_client::{Acl, AuthId, Permission};

use crate::failure::Failure;

/// The letters in the order in which they are printed.
const LETTERS: [(char, Permission); 5] = [
    ('c', Permission::CREATE),
    ('d', Permission::DELETE),
    ('r', Permission::READ),
    ('w', Permission::WRITE),
    ('a', Permission::ADMIN),
];

/// The list that `text` stands for. The first thing that is wrong is the error: Apache complains on standard error and
/// goes on with the entries that are left, so a znode may be left open to more, or to less, than was meant.
pub fn parse(text: &str) -> Result<Vec<Acl>, Failure> {
    let entries = text.trim_end_matches(',').split(',');
    entries.map(parse_entry).collect()
}

fn parse_entry(entry: &str) -> Result<Acl, Failure> {
    let form = || {
        Failure::usage(format!("{entry} does not have the form scheme:id:perm"))
            .hint("world:anyone:r, ip:10.0.0.0/8:cdrwa, or, behind `addauth`, auth::cdrwa; several with commas")
    };
    let (scheme, rest) = entry.split_once(':').ok_or_else(form)?;
    let (id, perms) = rest.rsplit_once(':').ok_or_else(form)?;
    let mut permission = Permission::NONE;
    for letter in perms.chars() {
        let Some((_, it)) = LETTERS.iter().find(|(it, _)| *it == letter) else {
            return Err(Failure::usage(format!("Unknown perm type: {letter}"))
                .hint("c creates children, d deletes them, r reads, w sets data, a sets the ACL"));
        };
        permission = permission | *it;
    }
    Ok(Acl::new(permission, AuthId::new(scheme, id)))
}

/// The letters of a permission.
pub fn letters(permission: Permission) -> String {
    LETTERS.iter().filter(|(_, it)| permission.has(*it)).map(|(letter, _)| *letter).collect()
}

/// An entry as `getAcl` prints it: `'scheme,'id`, newline, `: perms`.
pub fn line(acl: &Acl) -> String {
    format!("'{},'{}\n: {}", acl.scheme(), acl.id(), letters(acl.permission()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let list = parse("world:anyone:cdrwa,digest:u:aGFzaA==:r,ip:10.0.0.0/8:").unwrap();
        let texts: Vec<_> = list.iter().map(line).collect();
        assert_eq!(texts, ["'world,'anyone\n: cdrwa", "'digest,'u:aGFzaA==\n: r", "'ip,'10.0.0.0/8\n: "]);
        assert_eq!(line(&parse("ip:::1:awrdc").unwrap()[0]), "'ip,'::1\n: cdrwa");
    }

    #[test]
    fn nothing_is_left_out_in_silence() {
        let failed = |list: &str| {
            let failure = parse(list).unwrap_err();
            assert!(failure.hint.is_some(), "{list}");
            failure.text
        };
        assert_eq!(failed("world:anyone"), "world:anyone does not have the form scheme:id:perm");
        assert_eq!(failed("world:anyone:r,x"), "x does not have the form scheme:id:perm");
        assert_eq!(failed("world:anyone:rx"), "Unknown perm type: x");
    }
}
