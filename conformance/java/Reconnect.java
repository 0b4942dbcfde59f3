import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Apache's client through a restart of its server:
 *
 *   Reconnect HOST:PORT
 *
 * Prints "ready", waits until the server has gone and is back, and checks that session, ephemerals, identity and watches
 * are there. Prints "done" if all is well, and fails otherwise.
 */
public final class Reconnect {
    private static final int ASYNC = 500;

    private static final LinkedBlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();
    private static final LinkedBlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();

    public static void main(String[] args) throws Exception {
        ZooKeeper zk = connect(args[0]);
        ZooKeeper other = connect(args[0]);
        zk.addAuthInfo("digest", "me:secret".getBytes(StandardCharsets.UTF_8));
        long session = zk.getSessionId();
        zk.create("/mine", bytes(""), ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        zk.create("/private", bytes("1"), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        zk.create("/data", bytes("1"), ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create("/tree", bytes(""), ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        asynchronous(zk);

        zk.getData("/data", events::add, new Stat());
        zk.exists("/none", events::add);
        zk.getChildren("/", events::add);
        zk.addWatch("/tree", events::add, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.addWatch("/data", events::add, AddWatchMode.PERSISTENT);
        states.clear();
        System.out.println("ready");
        System.out.flush();

        expect(KeeperState.Disconnected);
        expect(KeeperState.SyncConnected);
        check(zk.getSessionId() == session, "another session");
        // The other client comes back on its own time.
        Stat owner = null;
        for (int i = 0; i < 300; i++) {
            try {
                owner = other.exists("/mine", false);
                break;
            } catch (KeeperException.ConnectionLossException notYet) {
                Thread.sleep(100);
            }
        }
        check(owner != null && owner.getEphemeralOwner() == session, "the ephemeral has gone");
        check(new String(zk.getData("/private", false, null), StandardCharsets.UTF_8).equals("1"), "what is private");
        events.removeIf(event -> event.getType() == EventType.None);
        check(events.isEmpty(), "events without a change: " + events);

        other.setData("/data", bytes("2"), -1);
        event(EventType.NodeDataChanged, "/data");
        event(EventType.NodeDataChanged, "/data");
        other.create("/none", bytes(""), ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        // One event of the exist watch, one of the child watch; their order is the server's.
        WatchedEvent one = next();
        WatchedEvent two = next();
        check(one.getType() == EventType.NodeCreated && one.getPath().equals("/none"), "no creation: " + one);
        check(two.getType() == EventType.NodeChildrenChanged && two.getPath().equals("/"), "no change: " + two);
        other.create("/tree/a", bytes(""), ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        event(EventType.NodeCreated, "/tree/a");
        other.delete("/tree/a", -1);
        event(EventType.NodeDeleted, "/tree/a");
        asynchronous(zk);
        zk.close();
        check(other.exists("/mine", false) == null, "the ephemeral outlives its session");
        other.close();
        System.out.println("done");
    }

    private static ZooKeeper connect(String server) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        boolean first = states.isEmpty();
        ZooKeeper zk = new ZooKeeper(server, 40000, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
            if (first) {
                states.add(event.getState());
            }
        });
        check(connected.await(60, TimeUnit.SECONDS), "no connection");
        return zk;
    }

    /** Many at once: the answers come in order. */
    private static void asynchronous(ZooKeeper zk) throws Exception {
        CountDownLatch answered = new CountDownLatch(2 * ASYNC);
        AtomicInteger next = new AtomicInteger();
        AtomicInteger wrong = new AtomicInteger();
        for (int i = 0; i < ASYNC; i++) {
            int number = i;
            zk.setData("/data", bytes("1"), -1, (code, path, context, stat) -> {
                if (code != 0 || next.getAndIncrement() != 2 * number) {
                    wrong.incrementAndGet();
                }
                answered.countDown();
            }, null);
            zk.getData("/data", false, (code, path, context, data, stat) -> {
                if (code != 0 || next.getAndIncrement() != 2 * number + 1) {
                    wrong.incrementAndGet();
                }
                answered.countDown();
            }, null);
        }
        check(answered.await(60, TimeUnit.SECONDS), "answers are missing: " + answered.getCount());
        check(wrong.get() == 0, wrong.get() + " answers are wrong");
    }

    private static void expect(KeeperState state) throws Exception {
        for (int i = 0; i < 20; i++) {
            KeeperState found = states.poll(90, TimeUnit.SECONDS);
            check(found != null, "never " + state);
            if (found == state) {
                return;
            }
        }
        check(false, "never " + state);
    }

    private static WatchedEvent next() throws Exception {
        WatchedEvent event;
        do {
            event = events.poll(60, TimeUnit.SECONDS);
            check(event != null, "an event is missing");
        } while (event.getType() == EventType.None);
        return event;
    }

    private static void event(EventType type, String path) throws Exception {
        WatchedEvent event = next();
        check(event.getType() == type && event.getPath().equals(path), "expected " + type + " " + path + ", got " + event);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void check(boolean is, String otherwise) {
        if (!is) {
            System.out.println("failed: " + otherwise);
            System.out.flush();
            Runtime.getRuntime().halt(1);
        }
    }
}
