//! A server that is just enough of one for the load generator: a map of znodes, no order between connections.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use wire::acl::AclVec;
use wire::connect::ConnectResponse;
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::jute::{Field, Reader};
use wire::request::{CreateRequest, DeleteRequest, ReadRequest, SetDataRequest};
use wire::response::{GetChildren2Response, GetDataResponse, PathResponse, StatResponse};
use wire::stat::Stat;
use wire::{ErrorCode, OpCode, SessionId, Xid, Zxid};

/// What a server may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every hundredth set is answered and forgotten.
    LosesSets,
    /// Every hundredth set is refused.
    RefusesSets,
    /// The hundredth request of a connection is answered with another's xid.
    MixesReplies,
    /// The hundredth request of a connection closes it.
    HangsUp,
}

type Znodes = Arc<Mutex<HashMap<String, (Vec<u8>, i32)>>>;

/// A running server; it ends with the test.
pub struct Fake {
    /// Where it listens.
    pub addr: SocketAddr,
    znodes: Znodes,
}

impl Fake {
    /// Starts one.
    pub fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let znodes = Znodes::default();
        let theirs = Arc::clone(&znodes);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let znodes = Arc::clone(&theirs);
                std::thread::spawn(move || serve(stream.unwrap(), &znodes, fault));
            }
        });
        Self { addr, znodes }
    }

    /// How many znodes there are.
    pub fn znodes(&self) -> usize {
        self.znodes.lock().unwrap().len()
    }
}

/// Serves a connection to its end; `None` when the client has gone.
fn serve(mut stream: TcpStream, znodes: &Znodes, fault: Fault) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut input = vec![0; 1 << 18];
    let mut filled = 0;
    let mut out = Vec::new();
    let mut requests = 0;
    loop {
        let count = stream.read(&mut input[filled..]).ok().filter(|it| *it > 0)?;
        filled += count;
        let mut rest = &input[..filled];
        while let Some((payload, after)) = frame::split(rest, 1 << 20).ok()? {
            rest = after;
            let start = frame::begin(&mut out);
            if requests == 0 {
                granted().write(&mut out);
            } else {
                if requests == 100 && fault == Fault::HangsUp {
                    return None;
                }
                answer(payload, requests, znodes, fault, &mut out);
            }
            requests += 1;
            frame::finish(&mut out, start);
        }
        let left = rest.len();
        input.copy_within(filled - left..filled, 0);
        filled = left;
        stream.write_all(&out).ok()?;
        out.clear();
    }
}

fn granted() -> ConnectResponse<'static> {
    ConnectResponse {
        protocol_version: 0,
        timeout_ms: 40_000,
        session: SessionId(7),
        password: Some(&[0; 16]),
        read_only: Some(false),
    }
}

fn stat(data: &[u8], version: i32) -> Stat {
    Stat { version, data_length: data.len() as i32, ..Stat::default() }
}

fn answer(payload: &[u8], number: u64, znodes: &Znodes, fault: Fault, out: &mut Vec<u8>) {
    let mut reader = Reader::new(payload);
    let header: RequestHeader = reader.read().unwrap();
    let mut znodes = znodes.lock().unwrap();
    let every_hundredth = number % 100 == 99;
    let mut body = Vec::new();
    let err = match OpCode::from_code(header.op).unwrap() {
        OpCode::Create => {
            let CreateRequest { path, data, acl, .. } = reader.read().unwrap();
            assert_eq!(acl, AclVec::OPEN);
            znodes.insert(path.clone().unwrap().into_owned(), (data.unwrap().to_vec(), 0));
            PathResponse { path }.write(&mut body);
            0
        }
        OpCode::SetData => {
            let SetDataRequest { path, data, .. } = reader.read().unwrap();
            let znode = znodes.get_mut(&*path.unwrap()).unwrap();
            if every_hundredth && fault == Fault::RefusesSets {
                -103
            } else {
                let data = data.unwrap();
                StatResponse { stat: stat(data, znode.1 + 1) }.write(&mut body);
                if !(every_hundredth && fault == Fault::LosesSets) {
                    *znode = (data.to_vec(), znode.1 + 1);
                }
                0
            }
        }
        OpCode::GetData => {
            let ReadRequest { path, .. } = reader.read().unwrap();
            let (data, version) = &znodes[&*path.unwrap()];
            GetDataResponse { data: Some(data), stat: stat(data, *version) }.write(&mut body);
            0
        }
        OpCode::Exists => {
            let ReadRequest { path, .. } = reader.read().unwrap();
            let (data, version) = &znodes[&*path.unwrap()];
            StatResponse { stat: stat(data, *version) }.write(&mut body);
            0
        }
        OpCode::GetChildren2 => {
            let ReadRequest { path, .. } = reader.read().unwrap();
            let parent = path.unwrap().into_owned() + "/";
            let names: Vec<&str> = znodes.keys().filter_map(|it| it.strip_prefix(&parent)).collect();
            let stat = Stat { num_children: names.len() as i32, ..Stat::default() };
            let names = names.into_iter().map(|it| Some(it.into())).collect();
            GetChildren2Response { children: Some(names), stat }.write(&mut body);
            0
        }
        OpCode::Delete => {
            let DeleteRequest { path, .. } = reader.read().unwrap();
            znodes.remove(&*path.unwrap()).map_or(-101, |_| 0)
        }
        OpCode::CloseSession => 0,
        other => panic!("the load generator does not ask for {other:?}"),
    };
    let mixed = number == 100 && fault == Fault::MixesReplies;
    let xid = if mixed { Xid(header.xid.0 + 1) } else { header.xid };
    ReplyHeader { xid, zxid: Zxid(1), err: ErrorCode(err) }.write(out);
    out.extend(body);
}
