import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.data.StatPersisted;
import org.apache.zookeeper.server.DataNode;
import org.apache.zookeeper.server.DataTree;
import org.apache.zookeeper.server.ZKDatabase;
import org.apache.zookeeper.server.persistence.FileTxnSnapLog;

/**
 * Prints all that a data directory or a running server holds, as sorted lines, so that two can be compared.
 *
 *   Dump dir DATADIR                              opened with Apache's own classes (which may write to it)
 *   Dump server HOST:PORT [SCHEME CREDENTIALS]    what a client can see
 */
public final class Dump {
    public static void main(String[] args) throws Exception {
        StringBuilder out = new StringBuilder();
        switch (args[0]) {
            case "dir" -> dir(new File(args[1]), out);
            case "server" -> server(args, out);
            default -> throw new IllegalArgumentException("dir or server, not " + args[0]);
        }
        System.out.write(out.toString().getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }

    private static void dir(File dir, StringBuilder out) throws Exception {
        FileTxnSnapLog files = new FileTxnSnapLog(dir, dir);
        ZKDatabase db = new ZKDatabase(files);
        db.loadDataBase();
        DataTree tree = db.getDataTree();
        TreeMap<String, String> lines = new TreeMap<>();
        walk(tree, "/", lines);
        lines.values().forEach(line -> out.append(line).append('\n'));
        for (Map.Entry<Long, Integer> session : new TreeMap<>(db.getSessionWithTimeOuts()).entrySet()) {
            out.append(String.format("session 0x%x timeout=%d%n", session.getKey(), session.getValue()));
        }
        out.append(String.format("lastProcessedZxid 0x%x%n", db.getDataTreeLastProcessedZxid()));
        out.append(String.format("digest 0x%x%n", tree.getTreeDigest()));
        db.close();
    }

    private static void walk(DataTree tree, String path, Map<String, String> lines) throws Exception {
        DataNode node = tree.getNode(path);
        StatPersisted stat = node.stat;
        Stat full = new Stat();
        node.copyStat(full);
        full.setCversion(stat.getCversion());
        lines.put(path, line(path, node.getData(), full, tree.getACL(node)));
        for (String child : new TreeSet<>(node.getChildren())) {
            walk(tree, path.equals("/") ? "/" + child : path + "/" + child, lines);
        }
    }

    private static void server(String[] args, StringBuilder out) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(args[1], 30000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        connected.await();
        if (args.length > 3) {
            zk.addAuthInfo(args[2], args[3].getBytes(StandardCharsets.UTF_8));
        }
        TreeMap<String, String> lines = new TreeMap<>();
        walk(zk, "/", lines);
        lines.values().forEach(line -> out.append(line).append('\n'));
        zk.close();
    }

    private static void walk(ZooKeeper zk, String path, Map<String, String> lines) throws Exception {
        try {
            Stat stat = new Stat();
            byte[] data = zk.getData(path, false, stat);
            // Clients see changes of the children, files count their creations.
            stat.setCversion((stat.getCversion() + stat.getNumChildren()) / 2);
            lines.put(path, line(path, data, stat, zk.getACL(path, new Stat())));
            for (String child : zk.getChildren(path, false)) {
                walk(zk, path.equals("/") ? "/" + child : path + "/" + child, lines);
            }
        } catch (KeeperException.NoNodeException gone) {
            // Deleted meanwhile.
        } catch (KeeperException.NoAuthException closed) {
            lines.put(path, "znode " + path + " NoAuth");
        }
    }

    private static String line(String path, byte[] data, Stat stat, List<ACL> acls) {
        List<String> acl = new ArrayList<>();
        for (ACL each : acls) {
            acl.add(each.getPerms() + ":" + each.getId().getScheme() + ":" + each.getId().getId());
        }
        return String.format(
            "znode %s data=%s czxid=0x%x mzxid=0x%x pzxid=0x%x ctime=%d mtime=%d version=%d cversion=%d aversion=%d owner=0x%x acl=%s",
            path, hex(data), stat.getCzxid(), stat.getMzxid(), stat.getPzxid(), stat.getCtime(), stat.getMtime(),
            stat.getVersion(), stat.getCversion(), stat.getAversion(), stat.getEphemeralOwner(), acl);
    }

    private static String hex(byte[] data) {
        if (data == null) {
            return "null";
        }
        StringBuilder hex = new StringBuilder(2 * data.length);
        for (byte each : data) {
            hex.append(Character.forDigit((each >> 4) & 15, 16)).append(Character.forDigit(each & 15, 16));
        }
        return hex.toString();
    }
}
