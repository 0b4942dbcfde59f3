import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Apache's client and Curator's recipes at work: Recipes HOST:PORT HOST:PORT, of which the first goes through what cuts
 * its connections when "cut" is printed. A line for each answer and event, without times and session ids.
 */
public final class Recipes {
    private static final int LIMIT_S = 30;

    public static void main(String[] args) throws Exception {
        try {
            pipelined(args[1]);
            watches(args[0], args[1]);
            curator(args[0], args[1]);
        } catch (Throwable failed) {
            failed.printStackTrace();
            System.exit(1);
        }
        System.exit(0);
    }

    private static void say(Object... words) {
        StringBuilder line = new StringBuilder();
        for (Object word : words) {
            line.append(line.length() == 0 ? "" : " ").append(word);
        }
        System.out.println("> " + line);
        System.out.flush();
    }

    private static ZooKeeper connect(String address, Watcher watcher) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(address, 20000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
            watcher.process(event);
        });
        check(connected.await(LIMIT_S, TimeUnit.SECONDS), "a connection");
        return zk;
    }

    private static void check(boolean came, String what) {
        if (!came) {
            throw new IllegalStateException("no " + what + " within " + LIMIT_S + " s");
        }
    }

    /** Hundreds of asynchronous requests at once: their answers come in the order of the requests. */
    private static void pipelined(String address) throws Exception {
        ZooKeeper zk = connect(address, event -> { });
        ConcurrentLinkedQueue<String> answers = new ConcurrentLinkedQueue<>();
        CountDownLatch all = new CountDownLatch(300);
        for (int i = 0; i < 60; i++) {
            String path = "/p" + i % 7;
            zk.create(path, new byte[i], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, (rc, p, c, name, stat) -> {
                answers.add("create " + rc + " " + name + (stat == null ? "" : " " + stat.getCzxid()));
                all.countDown();
            }, null);
            zk.setData(path, new byte[i], i % 5 - 1, (rc, p, c, stat) -> {
                answers.add("set " + rc + (stat == null ? "" : " " + stat.getVersion() + " " + stat.getMzxid()));
                all.countDown();
            }, null);
            zk.getData(path, false, (rc, p, c, data, stat) -> {
                answers.add("get " + rc + (stat == null ? "" : " " + data.length + " " + stat.getVersion()));
                all.countDown();
            }, null);
            List<Op> ops = List.of(
                Op.check(path, i % 5 - 1),
                Op.create(path + "/c", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL),
                Op.setData(path, new byte[1], -1));
            zk.multi(ops, (rc, p, c, results) -> {
                StringBuilder text = new StringBuilder("multi " + rc);
                for (OpResult result : results == null ? List.<OpResult>of() : results) {
                    text.append(' ').append(result instanceof OpResult.ErrorResult error ? "error " + error.getErr()
                        : result instanceof OpResult.CreateResult created ? created.getPath() : "ok");
                }
                answers.add(text.toString());
                all.countDown();
            }, null);
            zk.getChildren(path, false, (rc, p, c, names, stat) -> {
                answers.add("children " + rc + " " + (names == null ? "" : new TreeSet<>(names).toString()));
                all.countDown();
            }, null);
        }
        check(all.await(LIMIT_S, TimeUnit.SECONDS), "300 answers");
        answers.forEach(answer -> say(answer));
        zk.close();
    }

    /** Watches set before a cut connection fire after it, for what happened meanwhile too. */
    private static void watches(String cut, String straight) throws Exception {
        LinkedBlockingQueue<String> events = new LinkedBlockingQueue<>();
        AtomicInteger connections = new AtomicInteger();
        ZooKeeper zk = connect(cut, event -> {
            if (event.getType() == Watcher.Event.EventType.None) {
                if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                    connections.incrementAndGet();
                }
                return;
            }
            events.add(event.getType() + " " + event.getPath());
        });
        ZooKeeper other = connect(straight, event -> { });
        other.create("/w", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        other.create("/w/kids", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (int round = 0; round < 3; round++) {
            Watcher only = event -> {
                if (event.getType() != Watcher.Event.EventType.None) {
                    events.add("own " + event.getType() + " " + event.getPath());
                }
            };
            zk.getData("/w", only, new Stat());
            zk.exists("/w/later" + round, only);
            zk.getChildren("/w/kids", only);
            zk.addWatch("/w", AddWatchMode.PERSISTENT_RECURSIVE);
            int before = connections.get();
            if (round > 0) {
                say("cut");
                // In the last round there is a change that the client can't hear of while it is away, or may just hear of.
                if (round == 2) {
                    other.setData("/w", new byte[] {9}, -1);
                }
                for (int i = 0; connections.get() == before && i < LIMIT_S * 100; i++) {
                    Thread.sleep(10);
                }
                check(connections.get() > before, "connection after the cut");
            }
            say("get", zk.getData("/w/kids", false, new Stat()).length, "round", round);
            if (round < 2) {
                other.setData("/w", new byte[] {1}, -1);
                other.create("/w/later" + round, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
                other.create("/w/kids/" + round, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
                List<String> came = new ArrayList<>();
                // Three one-shot watches, three creations and changes below.
                for (int i = 0; i < 6; i++) {
                    String event = events.poll(LIMIT_S, TimeUnit.SECONDS);
                    check(event != null, "event, but " + came);
                    came.add(event);
                }
                Collections.sort(came);
                came.forEach(event -> say(event));
            } else {
                String event;
                do {
                    event = events.poll(LIMIT_S, TimeUnit.SECONDS);
                    check(event != null, "event of a change while it was away");
                } while (!event.equals("own NodeDataChanged /w"));
                say(event);
            }
        }
        try {
            zk.multi(List.of(Op.delete("/w", -1), Op.check("/w", 0)));
        } catch (KeeperException failed) {
            say("multi", failed.code(), failed.getResults().size());
        }
        zk.close();
        other.close();
    }

    private static CuratorFramework framework(String address) {
        CuratorFramework made = CuratorFrameworkFactory.builder()
            .connectString(address).sessionTimeoutMs(20000).connectionTimeoutMs(10000).retryPolicy(new RetryNTimes(100, 100))
            .namespace("curator").build();
        made.start();
        return made;
    }

    private static void curator(String cut, String straight) throws Exception {
        try (CuratorFramework one = framework(cut); CuratorFramework two = framework(straight)) {
            say("container", one.create().creatingParentContainersIfNeeded().forPath("/a/b/c", new byte[] {1}));
            say("ttl", one.create().withTtl(1000000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/a/ttl"));
            say("protected", one.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL)
                .forPath("/a/p-").replaceAll("_c_[-0-9a-f]*", "guid"));

            InterProcessMutex mutex = new InterProcessMutex(one, "/mutex");
            InterProcessMutex rival = new InterProcessMutex(two, "/mutex");
            say("mutex", mutex.acquire(LIMIT_S, TimeUnit.SECONDS), rival.acquire(200, TimeUnit.MILLISECONDS));
            mutex.release();
            say("mutex after its release", rival.acquire(LIMIT_S, TimeUnit.SECONDS));
            rival.release();

            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(one, "/semaphore", 2);
            var leases = semaphore.acquire(2, LIMIT_S, TimeUnit.SECONDS);
            say("semaphore", leases.size(), new InterProcessSemaphoreV2(two, "/semaphore", 2).acquire(200, TimeUnit.MILLISECONDS) == null);
            semaphore.returnAll(leases);

            LeaderLatch first = new LeaderLatch(one, "/latch", "first");
            first.start();
            check(first.await(LIMIT_S, TimeUnit.SECONDS), "leader");
            LeaderLatch second = new LeaderLatch(two, "/latch", "second");
            second.start();
            say("latch", first.hasLeadership(), second.getLeader().getId(), second.await(200, TimeUnit.MILLISECONDS));
            first.close();
            say("latch after its close", second.await(LIMIT_S, TimeUnit.SECONDS), second.getLeader().getId());
            second.close();

            DistributedAtomicLong counter = new DistributedAtomicLong(one, "/counter", new RetryNTimes(100, 10));
            for (int i = 0; i < 10; i++) {
                counter.increment();
            }
            say("counter", new DistributedAtomicLong(two, "/counter", new RetryNTimes(100, 10)).get().postValue());

            SimpleDistributedQueue queue = new SimpleDistributedQueue(one, "/queue");
            for (byte i = 0; i < 3; i++) {
                queue.offer(new byte[] {i});
            }
            SimpleDistributedQueue taker = new SimpleDistributedQueue(two, "/queue");
            say("queue", taker.take()[0], taker.take()[0], taker.poll(LIMIT_S, TimeUnit.SECONDS)[0]);

            // Both live through a cut connection: the znode comes back or stays, the cache hears of all that changes.
            PersistentNode node = new PersistentNode(one, CreateMode.EPHEMERAL, false, "/node", new byte[] {7});
            node.start();
            check(node.waitForInitialCreate(LIMIT_S, TimeUnit.SECONDS), "node");
            LinkedBlockingQueue<String> events = new LinkedBlockingQueue<>();
            CountDownLatch initialized = new CountDownLatch(1);
            CuratorCache cache = CuratorCache.build(one, "/cached");
            cache.listenable().addListener(org.apache.curator.framework.recipes.cache.CuratorCacheListener.builder()
                .forAll((type, before, after) -> events.add(type + " " + (after == null ? before : after).getPath()))
                .forInitialized(initialized::countDown).build());
            two.create().forPath("/cached");
            cache.start();
            check(initialized.await(LIMIT_S, TimeUnit.SECONDS), "cache");
            say(events.poll(LIMIT_S, TimeUnit.SECONDS));
            for (int round = 0; round < 2; round++) {
                two.create().forPath("/cached/" + round);
                say(events.poll(LIMIT_S, TimeUnit.SECONDS));
                two.setData().forPath("/cached/" + round, new byte[] {2});
                say(events.poll(LIMIT_S, TimeUnit.SECONDS));
                if (round == 0) {
                    say("cut");
                    // Away, or already back: a request is answered when it is connected.
                    say("exists", one.checkExists().forPath("/node") != null);
                    two.create().forPath("/cached/meanwhile");
                    say(events.poll(LIMIT_S, TimeUnit.SECONDS));
                }
            }
            two.delete().forPath("/cached/0");
            say(events.poll(LIMIT_S, TimeUnit.SECONDS));
            cache.close();
            node.close();
            say("node after its close", two.checkExists().forPath("/node") == null);
        }
    }
}
