import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;

/**
 * A pseudo-random but repeatable series of operations with Apache's client:
 *
 *   Workload HOST:PORT SEED OPERATIONS
 *
 * The same seed against a fresh server gives the same tree, apart from times and session ids. Each operation prints one
 * line when it is answered, with its result or error; half of the sessions are left open at the end (their ephemerals
 * stay until the sessions expire: after half an hour, or as much less as the server allows).
 */
public final class Workload {
    private static final int SESSIONS = 4;
    private static final int NAMES = 400;

    private final String server;
    private final Random random;
    /** What was created and not deleted, as far as the answers tell. */
    private final List<String> known = new ArrayList<>();
    private final ZooKeeper[] sessions = new ZooKeeper[SESSIONS];

    private Workload(String server, long seed) {
        this.server = server;
        this.random = new Random(seed);
    }

    public static void main(String[] args) throws Exception {
        Workload workload = new Workload(args[0], Long.parseLong(args[1]));
        int operations = Integer.parseInt(args[2]);
        for (int i = 0; i < SESSIONS; i++) {
            workload.sessions[i] = workload.connect(i);
        }
        for (int i = 0; i < operations; i++) {
            workload.step(i);
        }
        for (int i = 0; i < SESSIONS; i += 2) {
            workload.sessions[i].close();
            System.out.println("end close session=" + i);
        }
        System.out.flush();
        // The other sessions are left open: end without closing them.
        Runtime.getRuntime().halt(0);
    }

    private ZooKeeper connect(int number) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(server, 1800000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        connected.await();
        if (number % 2 == 1) {
            zk.addAuthInfo("digest", ("user" + number + ":secret").getBytes(StandardCharsets.UTF_8));
        }
        return zk;
    }

    private void step(int number) throws Exception {
        int session = random.nextInt(SESSIONS);
        String line;
        try {
            line = operation(session);
        } catch (KeeperException error) {
            line = "failed " + error.code();
        }
        System.out.println(number + " session=" + session + " " + line);
    }

    private String operation(int session) throws Exception {
        ZooKeeper zk = sessions[session];
        int kind = random.nextInt(100);
        byte[] data = data();
        int version = random.nextInt(8) == 0 ? random.nextInt(3) : -1;
        if (kind < 20) {
            return "create " + created(zk.create(fresh(), data, acl(session), CreateMode.PERSISTENT));
        } else if (kind < 28) {
            return "create ephemeral " + created(zk.create(fresh(), data, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL));
        } else if (kind < 34) {
            return "create sequential " + created(zk.create(fresh() + "-", data, acl(session), CreateMode.PERSISTENT_SEQUENTIAL));
        } else if (kind < 38) {
            return "create ephemeral sequential "
                + created(zk.create(fresh() + "-", data, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL));
        } else if (kind < 40) {
            return "create container " + created(zk.create(fresh(), data, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER));
        } else if (kind < 60) {
            String path = existing();
            return "set " + path + " " + shown(zk.setData(path, data, version));
        } else if (kind < 72) {
            String path = existing();
            zk.delete(path, version);
            known.remove(path);
            return "delete " + path;
        } else if (kind < 77) {
            String path = existing();
            return "acl " + path + " " + shown(zk.setACL(path, acl(session), version));
        } else if (kind < 93) {
            return multi(zk, session);
        } else if (kind < 98) {
            String path = existing();
            Stat stat = new Stat();
            byte[] read = zk.getData(path, false, stat);
            return "get " + path + " length=" + (read == null ? -1 : read.length) + " " + shown(stat);
        } else {
            zk.close();
            sessions[session] = connect(session);
            return "close and open";
        }
    }

    private String multi(ZooKeeper zk, int session) throws Exception {
        List<Op> ops = new ArrayList<>();
        int count = 1 + random.nextInt(5);
        for (int i = 0; i < count; i++) {
            switch (random.nextInt(5)) {
                case 0 -> ops.add(Op.create(fresh(), data(), acl(session), CreateMode.PERSISTENT));
                case 1 -> ops.add(Op.create(fresh() + "-", data(), acl(session), CreateMode.EPHEMERAL_SEQUENTIAL));
                case 2 -> ops.add(Op.setData(existing(), data(), -1));
                case 3 -> ops.add(Op.delete(existing(), -1));
                default -> ops.add(Op.check(existing(), random.nextInt(6) == 0 ? 0 : -1));
            }
        }
        StringBuilder line = new StringBuilder("multi");
        try {
            List<OpResult> results = zk.multi(ops);
            for (int i = 0; i < results.size(); i++) {
                OpResult result = results.get(i);
                line.append(' ').append(result.getType());
                if (result instanceof OpResult.CreateResult create) {
                    line.append('=').append(created(create.getPath()));
                } else if (result instanceof OpResult.DeleteResult) {
                    known.remove(ops.get(i).getPath());
                }
            }
        } catch (KeeperException error) {
            line.append(" failed ").append(error.code());
            for (OpResult result : error.getResults()) {
                line.append(' ').append(result instanceof OpResult.ErrorResult it ? it.getErr() : 0);
            }
        }
        return line.toString();
    }

    private String created(String path) {
        known.add(path);
        return path;
    }

    /** A path for a new znode: below the root or, up to a depth, below one that is there; sometimes it exists. */
    private String fresh() {
        String parent = random.nextInt(2) == 0 ? "" : existing();
        boolean deep = parent.chars().filter(it -> it == '/').count() > 3;
        return (deep ? "" : parent) + "/n" + random.nextInt(NAMES);
    }

    /** The path of a znode that is there; sometimes of one that need not be. */
    private String existing() {
        if (known.isEmpty() || random.nextInt(16) == 0) {
            return "/n" + random.nextInt(NAMES);
        }
        return known.get(random.nextInt(known.size()));
    }

    private byte[] data() {
        int length = switch (random.nextInt(10)) {
            case 0 -> -1;
            case 1 -> 0;
            case 2 -> 1 + random.nextInt(2000);
            default -> 1 + random.nextInt(40);
        };
        if (length < 0) {
            return null;
        }
        byte[] data = new byte[length];
        random.nextBytes(data);
        return data;
    }

    /** Mostly open; the sessions with an identity sometimes keep a znode to themselves. */
    private List<ACL> acl(int session) {
        int kind = random.nextInt(10);
        if (session % 2 == 1 && kind == 0) {
            return ZooDefs.Ids.CREATOR_ALL_ACL;
        }
        if (session % 2 == 1 && kind == 1) {
            List<ACL> both = new ArrayList<>(ZooDefs.Ids.READ_ACL_UNSAFE);
            both.addAll(ZooDefs.Ids.CREATOR_ALL_ACL);
            return both;
        }
        return ZooDefs.Ids.OPEN_ACL_UNSAFE;
    }

    private static String shown(Stat stat) {
        return "version=" + stat.getVersion() + " aversion=" + stat.getAversion();
    }
}
