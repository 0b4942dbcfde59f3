import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;

/**
 * Clients of Apache's that write while members are restarted:
 *
 *   Rolling HOST:PORT,HOST:PORT,HOST:PORT CLIENTS
 *
 * It does and prints what python/rolling.py does with kazoo's: a line for each 25 numbers of a client, and when its input
 * ends, as JSON, what each client knows.
 */
public final class Rolling {
    private static volatile boolean ending = false;

    private final int me;
    private long number = 0;
    private long acknowledged = 0;
    private final List<Long> children = new ArrayList<>();
    private final Map<String, Long> failures = new TreeMap<>();

    private Rolling(int me) {
        this.me = me;
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[1]);
        List<Rolling> clients = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Rolling client = new Rolling(i);
            clients.add(client);
            Thread thread = new Thread(() -> client.work(args[0]));
            thread.setDaemon(true);
            thread.start();
            threads.add(thread);
        }
        while (System.in.read() >= 0) {
            // Whatever it is.
        }
        ending = true;
        StringBuilder json = new StringBuilder("[");
        for (int i = 0; i < count; i++) {
            threads.get(i).join(TimeUnit.SECONDS.toMillis(60));
            json.append(i == 0 ? "" : ",").append(clients.get(i).json());
        }
        System.out.println(json.append("]"));
        System.out.flush();
        // A session that is being connected would hold it up.
        System.exit(0);
    }

    private void work(String hosts) {
        try {
            CountDownLatch connected = new CountDownLatch(1);
            ZooKeeper zk = new ZooKeeper(hosts, 10_000, event -> {
                if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                    connected.countDown();
                }
            });
            connected.await(30, TimeUnit.SECONDS);
            String path = "/k" + me;
            create(zk, path, "0");
            while (!ending) {
                number++;
                try {
                    zk.setData(path, Long.toString(number).getBytes(StandardCharsets.UTF_8), -1);
                    acknowledged = number;
                    create(zk, path + "/" + number, "");
                    children.add(number);
                } catch (KeeperException error) {
                    // As kazoo names them.
                    failures.merge(error.getClass().getSimpleName().replace("Exception", ""), 1L, Long::sum);
                }
                if (number % 25 == 0) {
                    System.out.println(me + " has " + number);
                    System.out.flush();
                }
                Thread.sleep(10);
            }
            zk.close();
        } catch (Exception error) {
            failures.merge(error.getClass().getSimpleName(), 1L, Long::sum);
        }
    }

    private static void create(ZooKeeper zk, String path, String data) throws KeeperException, InterruptedException {
        zk.create(path, data.getBytes(StandardCharsets.UTF_8), ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    private String json() {
        StringBuilder counts = new StringBuilder();
        failures.forEach((name, count) ->
            counts.append(counts.length() == 0 ? "" : ",").append('"').append(name).append("\":").append(count));
        return "{\"acknowledged\":" + acknowledged + ",\"sent\":" + number + ",\"children\":" + children
            + ",\"failures\":{" + counts + "}}";
    }
}
