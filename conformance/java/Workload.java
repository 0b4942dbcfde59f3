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
 * stay until the sessions expire).
 */
public final class Workload {
    private static final int SESSIONS = 4;
    private static final int NAMES = 40;

    private final String server;
    private final Random random;
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
        ZooKeeper zk = new ZooKeeper(server, 40000, event -> {
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
        String path = path();
        byte[] data = data();
        int version = random.nextInt(4) == 0 ? random.nextInt(3) : -1;
        if (kind < 22) {
            return "create " + zk.create(path, data, acl(session), CreateMode.PERSISTENT);
        } else if (kind < 30) {
            return "create ephemeral " + zk.create(path, data, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        } else if (kind < 36) {
            return "create sequential " + zk.create(path + "-", data, acl(session), CreateMode.PERSISTENT_SEQUENTIAL);
        } else if (kind < 40) {
            return "create ephemeral sequential "
                + zk.create(path + "-", data, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL);
        } else if (kind < 42) {
            return "create container " + zk.create(path, data, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
        } else if (kind < 62) {
            return "set " + path + " " + shown(zk.setData(path, data, version));
        } else if (kind < 74) {
            zk.delete(path, version);
            return "delete " + path;
        } else if (kind < 79) {
            return "acl " + path + " " + shown(zk.setACL(path, acl(session), version));
        } else if (kind < 94) {
            return multi(zk, session);
        } else if (kind < 97) {
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
            String path = path();
            switch (random.nextInt(5)) {
                case 0 -> ops.add(Op.create(path, data(), acl(session), CreateMode.PERSISTENT));
                case 1 -> ops.add(Op.create(path + "-", data(), acl(session), CreateMode.EPHEMERAL_SEQUENTIAL));
                case 2 -> ops.add(Op.setData(path, data(), -1));
                case 3 -> ops.add(Op.delete(path, -1));
                default -> ops.add(Op.check(path, random.nextInt(3) == 0 ? 0 : -1));
            }
        }
        StringBuilder line = new StringBuilder("multi");
        try {
            for (OpResult result : zk.multi(ops)) {
                line.append(' ').append(result.getType());
                if (result instanceof OpResult.CreateResult created) {
                    line.append('=').append(created.getPath());
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

    /** One of a small number of paths, up to three levels deep, so that operations meet each other. */
    private String path() {
        StringBuilder path = new StringBuilder();
        int depth = random.nextInt(3);
        for (int i = 0; i <= depth; i++) {
            path.append("/n").append(random.nextInt(i == 0 ? NAMES : 4));
        }
        return path.toString();
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
