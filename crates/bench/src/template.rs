//! Requests encoded once, and patched for each use.
//!
//! A znode's path ends in eight digits, its number; so all requests of a kind have one length, and only the xid, the
//! digits and two bytes of the data differ.

use wire::acl::AclVec;
use wire::frame::{self, RequestHeader};
use wire::jute::Field;
use wire::request::{CreateRequest, DeleteRequest, ReadRequest, SetDataRequest};
use wire::{OpCode, Xid};

/// How many digits a znode's number has.
pub(crate) const DIGITS: usize = 8;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Create a znode.
    Create,
    /// Set its data.
    Set,
    /// Read its data.
    Get,
    /// Ask for its Stat.
    Exists,
    /// List the parent's children.
    Children,
    /// Delete a znode.
    Delete,
}

impl Kind {
    /// All of them; `as usize` is the place in this list.
    pub(crate) const ALL: [Self; 6] = [Self::Create, Self::Set, Self::Get, Self::Exists, Self::Children, Self::Delete];

    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Set => "set",
            Self::Get => "get",
            Self::Exists => "exists",
            Self::Children => "children",
            Self::Delete => "delete",
        }
    }
}

/// The template of one kind of request.
#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    /// Where the digits of the znode's number are.
    digits: Option<usize>,
    /// Where the first and the last byte of the data are.
    data: Option<(usize, usize)>,
}

/// The templates of all kinds of requests below one parent.
#[derive(Clone, Debug)]
pub(crate) struct Templates(Vec<Template>);

impl Templates {
    /// Encodes them.
    pub(crate) fn new(parent: &str, payload: usize) -> Self {
        let data = vec![b'o'; payload];
        let path = format!("{parent}/{:0DIGITS$}", 0);
        Self(Kind::ALL.iter().map(|&kind| template(kind, parent, &path, &data)).collect())
    }

    /// Appends a request to `out`.
    #[inline]
    pub(crate) fn write(&self, kind: Kind, xid: i32, number: u32, stamp: u8, out: &mut Vec<u8>) {
        let template = &self.0[kind as usize];
        let start = out.len();
        out.extend_from_slice(&template.bytes);
        let request = &mut out[start..];
        request[4..8].copy_from_slice(&xid.to_be_bytes());
        if let Some(at) = template.digits {
            request[at..at + DIGITS].copy_from_slice(&digits(number));
        }
        if let Some((first, last)) = template.data {
            request[first] = stamp;
            request[last] = !stamp;
        }
    }
}

/// A znode's number as it stands in its path.
#[inline]
pub(crate) fn digits(number: u32) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

fn template(kind: Kind, parent: &str, path: &str, data: &[u8]) -> Template {
    let mut bytes = Vec::new();
    let start = frame::begin(&mut bytes);
    let op = match kind {
        Kind::Create => OpCode::Create,
        Kind::Set => OpCode::SetData,
        Kind::Get => OpCode::GetData,
        Kind::Exists => OpCode::Exists,
        Kind::Children => OpCode::GetChildren2,
        Kind::Delete => OpCode::Delete,
    };
    RequestHeader { xid: Xid(0), op: op.code() }.write(&mut bytes);
    let own = Some(path.into());
    match kind {
        Kind::Create => CreateRequest { path: own, data: Some(data), acl: AclVec::OPEN, flags: 0 }.write(&mut bytes),
        Kind::Set => SetDataRequest { path: own, data: Some(data), version: -1 }.write(&mut bytes),
        Kind::Get | Kind::Exists => ReadRequest { path: own, watch: false }.write(&mut bytes),
        Kind::Children => ReadRequest { path: Some(parent.into()), watch: false }.write(&mut bytes),
        Kind::Delete => DeleteRequest { path: own, version: -1 }.write(&mut bytes),
    }
    frame::finish(&mut bytes, start);
    // Length prefix, header (8), length of the path (4), the path.
    let path_end = 4 + 8 + 4 + path.len();
    let digits = (kind != Kind::Children).then_some(path_end - DIGITS);
    let has_data = matches!(kind, Kind::Create | Kind::Set) && !data.is_empty();
    let data = has_data.then_some((path_end + 4, path_end + 4 + data.len() - 1));
    Template { bytes, digits, data }
}

#[cfg(test)]
mod tests {
    use wire::jute::Reader;

    use super::*;

    #[test]
    fn a_patched_request_decodes_to_what_was_meant() {
        let templates = Templates::new("/p", 10);
        let mut out = Vec::new();
        templates.write(Kind::Set, 77, 1234, 5, &mut out);
        let (payload, rest) = frame::split(&out, 1000).unwrap().unwrap();
        assert!(rest.is_empty());
        let mut reader = Reader::new(payload);
        let header: RequestHeader = reader.read().unwrap();
        assert_eq!((header.xid, header.op), (Xid(77), OpCode::SetData.code()));
        let request: SetDataRequest<'_> = reader.read().unwrap();
        assert_eq!(request.path.unwrap(), "/p/00001234");
        assert_eq!(request.data.unwrap(), &[5, b'o', b'o', b'o', b'o', b'o', b'o', b'o', b'o', 250]);

        out.clear();
        templates.write(Kind::Children, 1, 9, 0, &mut out);
        let request: ReadRequest<'_> = Reader::new(&out[12..]).read().unwrap();
        assert_eq!(request.path.unwrap(), "/p");
    }

    #[test]
    fn no_data_and_one_byte_of_data_have_their_places() {
        for (payload, expected) in [(0, &[][..]), (1, &[0xfa][..])] {
            let mut out = Vec::new();
            Templates::new("/p", payload).write(Kind::Create, 1, 0, 5, &mut out);
            let request: CreateRequest<'_> = Reader::new(&out[12..]).read().unwrap();
            assert_eq!(request.data.unwrap(), expected);
        }
    }
}
