//! Ten thousand connections that cost their clients nothing and the server as much as it lets them: silent from the first
//! byte, slower than a byte at a time can be, and deaf. Good clients are served meanwhile, in sessions as short as they get.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::{Body, create, set, watch};
use ostler_conformance::{Options, Server, four_letter};

use super::Bystander;
use super::good::GoodClients;

/// All of them together, where the machine allows as many open files.
const MULTITUDE: usize = 10_000;
/// Open files of the other tests of this program, and of this one's good clients.
const OTHER_FILES: usize = 5000;
/// Threads that connect.
const CONNECTING: usize = 6;
/// What a connection may cost the server that sends little or nothing: a session, a watch, half a request.
const EACH_BYTES: usize = 4 * 1024;
/// `ostler.unsent.bytesMax` here. Buffers grow by doubling, and while one moves both are
/// there: three times as much is room for all who don't read.
const UNSENT_BYTES_MAX: usize = 64 << 20;
/// What the server may need beside: what is under way, pages that the allocator is about to give back.
const SLACK_BYTES: usize = 16 << 20;
/// What stays when all are gone: tables that have grown, memory that the allocator keeps.
const LEFT_BYTES: usize = 48 << 20;
/// The socket buffer of a deaf client: what the system keeps for it should be little.
const DEAF_SOCKET_BYTES: usize = 4096;
/// The answer that it asks for, and how often.
const DEAF_ANSWER_BYTES: usize = 16 * 1024;
const DEAF_REQUESTS: usize = 48;
/// Rounds in which the slow ones send a byte each, and the pause between two.
const DROPS: usize = 8;
const DROP_EVERY: Duration = Duration::from_millis(200);

/// For the bystander, however long it takes the crowd to gather.
const LONG_SESSIONS: &str = "maxSessionTimeout=600000";

/// What the crowd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing at all.
    Silent,
    /// Its ConnectRequest comes in drops.
    SlowHandshake,
    /// It has a session, and its first request comes in drops.
    SlowRequest,
    /// It has a session, asks for a lot, and reads nothing.
    Deaf,
}

/// A connection that does what its kind does.
fn join(addr: SocketAddr, kind: Kind) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    if kind == Kind::Deaf {
        // Before it connects: the window that it offers follows from it.
        socket.set_recv_buffer_size(DEAF_SOCKET_BYTES).unwrap();
    }
    socket.connect(&addr.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    if matches!(kind, Kind::SlowRequest | Kind::Deaf) {
        let request = ConnectRequest { timeout_ms: 16_000, ..ConnectRequest::default() };
        stream.write_all(&Body::new().buffer(Some(&request.encode())).0).unwrap();
        stream.read_exact(&mut [0; 41]).unwrap();
    }
    if kind == Kind::Deaf {
        let request = Body::new().buffer(Some(&Body::new().int(1).int(4).raw(&watch("/long", true)).0)).0;
        stream.write_all(&request.repeat(DEAF_REQUESTS)).unwrap();
    }
    stream
}

/// So many of one kind.
fn gather(addr: SocketAddr, kind: Kind, count: usize) -> Vec<TcpStream> {
    let join_some = |at: usize| {
        let some = count / CONNECTING + usize::from(at < count % CONNECTING);
        thread::spawn(move || (0..some).map(|_| join(addr, kind)).collect::<Vec<_>>())
    };
    let threads: Vec<_> = (0..CONNECTING).map(join_some).collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

/// A number that `mntr` tells.
fn told(addr: SocketAddr, name: &str) -> usize {
    let all = four_letter::ask(addr, "mntr").unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    line.unwrap_or_else(|| panic!("no {name} in {all}")).parse::<f64>().unwrap() as usize
}

/// Waits until it is so.
fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    while let Err(why) = is_so() {
        assert!(began.elapsed() < limit, "{what}: {why}");
        thread::sleep(Duration::from_millis(50));
    }
    eprintln!("{what} after {:.1} s", began.elapsed().as_secs_f32());
}

#[test]
fn ten_thousand_silent_slow_and_deaf_clients() {
    let count = super::room_for_some_files(MULTITUDE, OTHER_FILES);
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path())
        .cfg(format!("ostler.unsent.bytesMax={UNSENT_BYTES_MAX}"))
        // They come as fast as they can; who finds no room in the queue tries again after a second.
        .cfg("clientPortListenBacklog=4096")
        .cfg(LONG_SESSIONS)
        // Those without a session stay until they go themselves.
        .cfg("nio.sessionlessCnxnTimeout=120000");
    let mut bystander = Bystander::with(dir, &options);
    let addr = bystander.server.addr();
    let mut other = bystander.other();
    assert_eq!(other.call(1, 1, &create("/long", &vec![7; DEAF_ANSWER_BYTES], 0)).unwrap().err, 0);
    let good = GoodClients::start(addr, 4);
    bystander.works("good clients alone");
    let baseline = bystander.resident();
    let (connections, sessions) = (told(addr, "zk_num_alive_connections"), told(addr, "zk_global_sessions"));

    let mut crowd = Vec::new();
    let mut bound = baseline + SLACK_BYTES;
    let third = count / 3;
    for (kind, of_them) in [
        (Kind::Silent, third),
        (Kind::SlowHandshake, third / 2),
        (Kind::SlowRequest, third - third / 2),
        (Kind::Deaf, count - 2 * third),
    ] {
        let began = Instant::now();
        let before = bystander.resident();
        let joined = gather(addr, kind, of_them);
        bystander.works(&format!("{of_them} {kind:?} clients"));
        bound += of_them * EACH_BYTES + if kind == Kind::Deaf { 3 * UNSENT_BYTES_MAX } else { 0 };
        let resident = bystander.resident();
        eprintln!(
            "{of_them} {kind:?} clients after {:.1} s: {} MB, {} bytes each",
            began.elapsed().as_secs_f32(),
            resident >> 20,
            resident.saturating_sub(before) / of_them
        );
        assert!(
            resident <= bound,
            "{} MB with {of_them} {kind:?} clients: more than {} MB",
            resident >> 20,
            bound >> 20
        );
        crowd.push((kind, joined));
    }
    // Drop by drop: the bytes of a ConnectRequest, and of a request that promises the longest frame.
    let handshake = Body::new().buffer(Some(&ConnectRequest::default().encode())).0;
    let request = [1_048_575_i32.to_be_bytes(), 1_i32.to_be_bytes(), 5_i32.to_be_bytes(), [0; 4]].concat();
    for drop_at in 0..DROPS {
        for (kind, joined) in &mut crowd {
            let bytes = match kind {
                Kind::SlowHandshake => &handshake,
                Kind::SlowRequest => &request,
                Kind::Silent | Kind::Deaf => continue,
            };
            for stream in joined {
                // On a slow machine its session is over by now.
                let _ = stream.write_all(&bytes[drop_at..=drop_at]);
            }
        }
        bystander.works(&format!("drop {drop_at} of everybody who is slow"));
        thread::sleep(DROP_EVERY);
    }
    let peak = bystander.peak();
    eprintln!("{count} clients: {} MB at most, {} MB of them at the beginning", peak >> 20, baseline >> 20);
    assert!(peak <= bound, "{} MB at the most: more than {} MB", peak >> 20, bound >> 20);

    // They leave without a word; their sessions run out of time.
    drop(crowd);
    until("connections are gone", Duration::from_secs(20), || {
        let left = told(addr, "zk_num_alive_connections");
        if left <= connections { Ok(()) } else { Err(format!("{left} of them")) }
    });
    until("sessions are gone", Duration::from_mins(1), || {
        // The bystander makes one whenever it works.
        let left = told(addr, "zk_global_sessions").saturating_sub(20);
        if left <= sessions { Ok(()) } else { Err(format!("{left} of them")) }
    });
    assert_eq!(told(addr, "zk_watch_count"), 0, "watches of those who have gone");
    until("memory is given back", Duration::from_mins(1), || {
        // The allocator gives back what it has when it has something to do.
        bystander.works("they left");
        let resident = bystander.resident();
        if resident <= baseline + LEFT_BYTES { Ok(()) } else { Err(format!("{} MB", resident >> 20)) }
    });
    eprintln!("afterwards {} MB", bystander.resident() >> 20);
    bystander.works("all have gone");
    good.were_served("a multitude");
    bystander.printed_no_panic();
}

/// Connections that promise the longest request and send all but its last byte.
const HALF_REQUESTS: usize = 400;
/// `ostler.unprocessed.bytesMax` for them.
const UNPROCESSED_BYTES_MAX: usize = 32 << 20;

#[test]
fn large_requests_that_never_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path())
        .cfg(format!("ostler.unprocessed.bytesMax={UNPROCESSED_BYTES_MAX}"))
        .cfg("clientPortListenBacklog=4096")
        .cfg(LONG_SESSIONS);
    let mut bystander = Bystander::with(dir, &options);
    let addr = bystander.server.addr();
    let good = GoodClients::start(addr, 4);
    let mut writer = bystander.other();
    let data = vec![7; 900_000];
    assert_eq!(writer.call(1, 1, &create("/large", &data, 0)).unwrap().err, 0);
    let baseline = bystander.resident();
    // Half of them have a session, for the others it is the first frame.
    let mut crowd = gather(addr, Kind::SlowRequest, HALF_REQUESTS / 2);
    crowd.extend(gather(addr, Kind::Silent, HALF_REQUESTS / 2));
    let frame = [&1_048_575_i32.to_be_bytes()[..], &vec![0; 1_048_575 - 1]].concat();
    let mut crowd: Vec<_> = crowd.into_iter().map(|stream| (stream, 0)).collect();
    for (stream, _) in &crowd {
        stream.set_nonblocking(true).unwrap();
    }
    let began = Instant::now();
    let mut version = 0;
    // Some wait for room as long as others are not closed. A good large request waits, too, and is done.
    let is_enough = |left: usize, sets: i32| sets >= 3 && left < HALF_REQUESTS - HALF_REQUESTS / 10;
    while !is_enough(crowd.len(), version) && began.elapsed() < Duration::from_secs(45) {
        crowd.retain_mut(|(stream, sent)| {
            let written = if *sent < frame.len() { stream.write(&frame[*sent..]) } else { Ok(0) };
            *sent += written.as_ref().map_or(0, |count| *count);
            let would_block = |e: std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
            written.map_or_else(would_block, |_| true) && stream.read(&mut [0; 8]).map_or_else(would_block, |_| false)
        });
        let asked = Instant::now();
        assert_eq!(writer.call(2, 5, &set("/large", Some(&data), version)).unwrap().err, 0, "a good large request");
        version += 1;
        bystander.works(&format!("half requests, and a large one in {} ms", asked.elapsed().as_millis()));
    }
    // Buffers grow by doubling; and of those for whom there is no room, each holds what one look at its socket brings, and a
    // few hold all.
    let bound = baseline + 2 * UNPROCESSED_BYTES_MAX + HALF_REQUESTS * 20 * 1024 + (8 << 20) + SLACK_BYTES;
    let peak = bystander.peak();
    let closed = HALF_REQUESTS - crowd.len();
    eprintln!(
        "{} MB at most, {} MB at the beginning, {closed} were closed, {version} large sets",
        peak >> 20,
        baseline >> 20
    );
    assert!(peak <= bound, "{} MB for {HALF_REQUESTS} half requests: more than {} MB", peak >> 20, bound >> 20);
    assert!(is_enough(crowd.len(), version), "{closed} were closed, {version} large sets");
    drop(crowd);
    until("memory is given back", Duration::from_mins(1), || {
        // The allocator gives back what it has when it has something to do.
        bystander.works("they left");
        let resident = bystander.resident();
        if resident <= baseline + LEFT_BYTES { Ok(()) } else { Err(format!("{} MB", resident >> 20)) }
    });
    bystander.works("they have gone");
    good.were_served("half requests");
    bystander.printed_no_panic();
}

/// Connections of the flood, and threads that make them.
const FLOOD: usize = 9000;
/// Pings of each of the connections that send nothing else.
const PINGS: usize = 200_000;

#[test]
fn a_flood_of_connections_and_of_pings() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path()).cfg("clientPortListenBacklog=4096");
    let mut bystander = Bystander::with(dir, &options);
    let addr = bystander.server.addr();
    let good = GoodClients::start(addr, 4);
    bystander.works("good clients alone");
    let (baseline, connections) = (bystander.resident(), told(addr, "zk_num_alive_connections"));
    let handshake =
        Body::new().buffer(Some(&ConnectRequest { timeout_ms: 4000, ..ConnectRequest::default() }.encode())).0;
    let began = Instant::now();
    // As fast as they can: gone at once, gone while their session is made, and gone without a goodbye.
    let connect = |thread: usize| {
        let handshake = handshake.clone();
        thread::spawn(move || {
            for at in 0..FLOOD / CONNECTING {
                let Ok(mut stream) = TcpStream::connect(addr) else { continue };
                if at % 3 != 0 {
                    let _ = stream.write_all(&handshake);
                }
                if (at + thread).is_multiple_of(2) {
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
            }
        })
    };
    let threads: Vec<_> = (0..CONNECTING).map(connect).collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        bystander.works("connections that come and go");
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let sessions = told(addr, "zk_global_sessions");
    eprintln!(
        "{FLOOD} connections in {:.1} s, {sessions} sessions, {} MB",
        began.elapsed().as_secs_f32(),
        bystander.peak() >> 20
    );
    let ping = || {
        let mut reading = bystander.other().into_stream();
        let mut writing = reading.try_clone().unwrap();
        let writer = thread::spawn(move || {
            let some = Body::new().buffer(Some(&Body::new().int(-2).int(11).0)).0.repeat(1000);
            (0..PINGS / 1000).for_each(|_| writing.write_all(&some).unwrap());
        });
        thread::spawn(move || {
            reading.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
            let mut some = vec![0; 20 * 1000];
            (0..PINGS / 1000).for_each(|_| reading.read_exact(&mut some).unwrap());
            writer.join().unwrap();
        })
    };
    let threads: Vec<_> = (0..4).map(|_| ping()).collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        bystander.works("pings");
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let peak = bystander.peak();
    assert!(peak <= baseline + LEFT_BYTES, "{} MB at most, {} MB at the beginning", peak >> 20, baseline >> 20);
    until("connections are gone", Duration::from_secs(20), || {
        let left = told(addr, "zk_num_alive_connections");
        if left <= connections { Ok(()) } else { Err(format!("{left} of them")) }
    });
    bystander.works("floods");
    good.were_served("floods");
    bystander.printed_no_panic();
}

/// `ostler.sessions.max` in the flood.
const SESSIONS_MAX: usize = 200;

/// Sessions that are begun and left, with the longest timeout: each lives on for a while.
#[test]
fn a_flood_of_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path()).cfg(format!("ostler.sessions.max={SESSIONS_MAX}"));
    let mut bystander = Bystander::with(dir, &options);
    let addr = bystander.server.addr();
    let good = GoodClients::start(addr, 4);
    let request = ConnectRequest { timeout_ms: 40_000, ..ConnectRequest::default() };
    let (mut first, granted) = Connection::connect(addr, &request).unwrap();
    let flood = (0..2 * SESSIONS_MAX).map(|_| Connection::connect(addr, &request).is_ok());
    let taken = flood.filter(|is_taken| *is_taken).count();
    assert!(taken > SESSIONS_MAX / 2 && taken < SESSIONS_MAX, "{taken} were taken");
    assert_eq!(told(addr, "zk_connection_rejected"), 2 * SESSIONS_MAX - taken);
    // Who has one goes on with it, and its end makes room.
    let again = ConnectRequest { session_id: granted.session_id, password: Some(granted.password), ..request.clone() };
    let (mut second, renewed) = Connection::connect(addr, &again).unwrap();
    assert_eq!(renewed.session_id, granted.session_id);
    first.expect_closed().unwrap();
    assert!(Connection::connect(addr, &request).is_err());
    assert_eq!(second.call(1, -11, &[]).unwrap().err, 0);
    // It looks by a new session.
    bystander.works("more sessions than there may be");
    good.were_served("a flood of sessions");
    bystander.printed_no_panic();
}
