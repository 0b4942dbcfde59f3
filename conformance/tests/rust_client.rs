//! The `zookeeper-client` crate: the same program against Apache and against Ostler, through a proxy that cuts its
//! connection once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use ostler_conformance::proxy::Proxy;
use ostler_conformance::{Options, Server, apache, ostler};
use zookeeper_client::{
    Acls, AddWatchMode, Client, CreateMode, CreateOptions, EventType, LockOptions, LockPrefix, OneshotWatcher,
    PersistentWatcher, SessionState, Stat, WatchedEvent,
};

const LIMIT: Duration = Duration::from_secs(30);
const OPEN: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());

/// What is compared: a line for each answer and event.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn say(&mut self, what: &str, result: impl Debug) {
        self.0.push(format!("{what}: {result:?}"));
    }

    async fn event(&mut self, what: &str, watcher: OneshotWatcher) {
        let event = tokio::time::timeout(LIMIT, watcher.changed()).await.unwrap();
        self.say(what, shown(&event));
    }

    /// The next event of a znode; those of the session come and go with the connection.
    async fn next(&mut self, what: &str, watcher: &mut PersistentWatcher) {
        loop {
            let event = tokio::time::timeout(LIMIT, watcher.changed()).await.unwrap();
            if event.event_type != EventType::Session {
                return self.say(what, shown(&event));
            }
        }
    }
}

fn shown(event: &WatchedEvent) -> (EventType, &str, i64) {
    (event.event_type, &event.path, event.zxid)
}

fn counts(stat: &Stat) -> [i64; 9] {
    let of = [stat.version, stat.cversion, stat.aversion, stat.data_length, stat.num_children].map(i64::from);
    let [version, cversion, aversion, length, children] = of;
    let owned = i64::from(stat.ephemeral_owner != 0);
    [version, cversion, aversion, length, children, owned, stat.czxid, stat.mzxid, stat.pzxid]
}

async fn connect(addr: SocketAddr) -> Client {
    Client::connector().with_session_timeout(Duration::from_secs(20)).connect(&addr.to_string()).await.unwrap()
}

async fn data(told: &mut Told, client: &Client) {
    let created =
        client.create("/z", b"data", &OPEN).await.map(|(stat, sequence)| (counts(&stat), sequence.into_i64()));
    told.say("create", created);
    told.say("create again", client.create("/z", b"", &OPEN).await.map(|it| counts(&it.0)));
    let sequential = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    for _ in 0..2 {
        let created = client.create("/z/s-", b"", &sequential).await.map(|it| it.1.to_string());
        told.say("sequential", created);
    }
    told.say("ephemeral", client.create("/z/e", b"x", &EPHEMERAL).await.map(|it| counts(&it.0)));
    let container = CreateMode::Container.with_acls(Acls::anyone_all());
    told.say("container", client.create("/z/box", b"", &container).await.map(|it| counts(&it.0)));
    let ttl = OPEN.with_ttl(Duration::from_hours(1));
    told.say("ttl", client.create("/z/ttl", b"", &ttl).await.map(|it| counts(&it.0)));
    told.say("mkdir", client.mkdir("/z/a/b/c", &OPEN).await);
    told.say("get", client.get_data("/z").await.map(|(data, stat)| (data, counts(&stat))));
    told.say("set", client.set_data("/z", b"more", Some(0)).await.map(|stat| counts(&stat)));
    told.say("set, wrong version", client.set_data("/z", b"more", Some(0)).await.map(|stat| counts(&stat)));
    told.say("exists", client.check_stat("/none").await.map(|stat| stat.map(|it| counts(&it))));
    let children = client.get_children("/z").await.map(|(mut names, stat)| {
        names.sort();
        (names, counts(&stat))
    });
    told.say("children", children);
    told.say("descendants", client.count_descendants_number("/z").await);
    let ephemerals = client.list_ephemerals("/z").await.map(|mut names| {
        names.sort();
        names
    });
    told.say("ephemerals", ephemerals);
    told.say("delete", client.delete("/z", None).await);
    told.say("sync", client.sync("/z").await);
    told.say("config", client.get_config().await.map(|it| it.0));
}

async fn identities(told: &mut Told, client: &Client) {
    told.say("auth", client.auth("digest", b"me:secret").await);
    let mut users: Vec<String> =
        client.list_auth_users().await.unwrap().iter().map(|it| format!("{}:{}", it.scheme(), it.user())).collect();
    users.sort();
    told.say("users", users);
    let mine = CreateMode::Persistent.with_acls(Acls::creator_all());
    told.say("create for me", client.create("/mine", b"", &mine).await.map(|it| counts(&it.0)));
    told.say("its ACL", client.get_acl("/mine").await.map(|(acl, stat)| (acl, counts(&stat))));
    told.say("set ACL", client.set_acl("/mine", &Acls::anyone_read(), Some(0)).await.map(|stat| counts(&stat)));
    told.say("set ACL again", client.set_acl("/mine", &Acls::anyone_all(), None).await.map(|stat| counts(&stat)));
}

async fn multis(told: &mut Told, client: &Client) {
    for version in [0, 7] {
        let mut writer = client.new_multi_writer();
        writer.add_create(&format!("/m{version}"), b"m", &OPEN).unwrap();
        writer.add_set_data("/z/a/b", b"m", Some(version)).unwrap();
        writer.add_check_version("/z/a/b", version + 1).unwrap();
        writer.add_delete(&format!("/m{version}"), None).unwrap();
        // Times are in the stats of its results.
        told.say("multi", writer.commit().await.map(|results| results.len()));
    }
    let mut reader = client.new_multi_reader();
    for path in ["/mine", "/none"] {
        reader.add_get_data(path).unwrap();
    }
    reader.add_get_children("/zookeeper").unwrap();
    for result in reader.commit().await.unwrap() {
        use zookeeper_client::MultiReadResult::{Children, Data, Error};
        match result {
            Data { data, stat } => told.say("multi read", (data, counts(&stat))),
            Children { mut children } => {
                children.sort();
                told.say("multi read", children);
            }
            Error { err } => told.say("multi read", err),
            other => told.say("multi read", other),
        }
    }
}

async fn watches(told: &mut Told, client: &Client, writer: &Client, proxy: &Proxy) {
    writer.create("/w", b"", &OPEN).await.unwrap();
    let (_, _, of_data) = client.get_and_watch_data("/w").await.unwrap();
    let (_, _, of_children) = client.get_and_watch_children("/w").await.unwrap();
    let (_, of_none) = client.check_and_watch_stat("/w/x").await.unwrap();
    let mut below = client.watch("/w", AddWatchMode::PersistentRecursive).await.unwrap();
    let mut here = client.watch("/w", AddWatchMode::Persistent).await.unwrap();
    writer.set_data("/w", b"1", None).await.unwrap();
    writer.create("/w/x", b"", &OPEN).await.unwrap();
    told.event("data", of_data).await;
    told.event("children", of_children).await;
    told.event("exists", of_none).await;
    for _ in 0..2 {
        told.next("recursive", &mut below).await;
        told.next("persistent", &mut here).await;
    }
    drop(here);

    // Set before the cut; they fire after it, and none is lost.
    let (_, _, of_data) = client.get_and_watch_data("/w/x").await.unwrap();
    let (_, of_none) = client.check_and_watch_stat("/w/y").await.unwrap();
    let mut states = client.state_watcher();
    assert_eq!(proxy.cut(), 1);
    let back = async {
        while states.changed().await != SessionState::Disconnected {}
        while states.changed().await != SessionState::SyncConnected {}
    };
    tokio::time::timeout(LIMIT, back).await.unwrap();
    // What it answers is behind what it registered.
    told.say("after the cut", client.get_data("/z/e").await.map(|(data, stat)| (data, counts(&stat))));
    writer.set_data("/w/x", b"2", None).await.unwrap();
    writer.create("/w/y", b"", &OPEN).await.unwrap();
    told.event("kept data", of_data).await;
    told.event("kept exists", of_none).await;
    for _ in 0..2 {
        told.next("kept recursive", &mut below).await;
    }
}

async fn locks(told: &mut Told, one: &Client, other: &Client) {
    let options = || LockOptions::new(Acls::anyone_all()).with_ancestor_options(OPEN).unwrap();
    let prefix = || LockPrefix::new_curator("/locks", "lock-").unwrap();
    let held = one.lock(prefix(), b"one", options()).await.unwrap();
    let waiting = other.lock(prefix(), b"two", options());
    tokio::pin!(waiting);
    told.say("taken", tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    let created = held.create("/guarded", b"", &OPEN).await.map(|it| counts(&it.0)[0]);
    told.say("under the lock", created);
    drop(held);
    let mine = tokio::time::timeout(LIMIT, waiting).await.unwrap();
    told.say("got it", mine.map(|lock| lock.lock_path().ends_with("-0000000001")));
}

async fn chroot(told: &mut Told, addr: SocketAddr) {
    let client = Client::connect(&format!("{addr}/z")).await.unwrap();
    told.say("in a chroot", client.get_data("/a").await.map(|(data, stat)| (data, counts(&stat))));
    let (_, _, watcher) = client.get_and_watch_data("/a").await.unwrap();
    told.say("set", client.set_data("/a", b"x", None).await.map(|stat| counts(&stat)));
    told.event("without the chroot", watcher).await;
}

async fn conversation(addr: SocketAddr, proxy: &Proxy) -> Vec<String> {
    let mut told = Told::default();
    let (client, writer) = (connect(proxy.addr()).await, connect(addr).await);
    data(&mut told, &client).await;
    identities(&mut told, &client).await;
    multis(&mut told, &client).await;
    watches(&mut told, &client, &writer, proxy).await;
    chroot(&mut told, addr).await;
    let (_, gone) = writer.check_and_watch_stat("/z/e").await.unwrap();
    // The session ends with its last handle; so does that of the chroot, at about the same time.
    drop(client);
    let event = tokio::time::timeout(LIMIT, gone.changed()).await.unwrap();
    told.say("the end of a session", (event.event_type, event.path));
    locks(&mut told, &writer, &connect(addr).await).await;
    told.0
}

fn run(addr: SocketAddr) -> Vec<String> {
    let proxy = Proxy::start(addr, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(4 * LIMIT, conversation(addr, &proxy)).await.unwrap() })
}

#[test]
fn zookeeper_client_crate_gets_the_same_answers() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let options = |at: usize| Options::new(dirs[at].path()).cfg("extendedTypesEnabled=true");
    let one = apache::Server::start(&options(0)).unwrap();
    let other = ostler::Server::start(&options(1)).unwrap();
    let [one, other] = std::thread::scope(|scope| {
        let running = [one.addr(), other.addr()].map(|addr| scope.spawn(move || run(addr)));
        running.map(|it| it.join().unwrap())
    });
    for (apache, ostler) in one.iter().zip(&other) {
        assert_eq!(apache, ostler, "Apache, then Ostler, in\n{}", one.join("\n"));
    }
    assert_eq!(one.len(), other.len());
    assert!(one.len() > 45, "{one:#?}");
}
