/* ZooKeeper's C client at work: client HOST:PORT. A line for each answer and each event, without times and session ids.
 *
 * At "cut" on its standard output somebody cuts its connection; it goes on when it is connected again. */
#define THREADED
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zookeeper/zookeeper.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connections, disconnections, events, answers;

static void add(int *counter) {
    pthread_mutex_lock(&lock);
    ++*counter;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(const char *what, const int *counter, int target) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 30;
    pthread_mutex_lock(&lock);
    while (*counter < target)
        if (pthread_cond_timedwait(&changed, &lock, &limit)) {
            printf("no %s within 30 s\n", what);
            exit(1);
        }
    pthread_mutex_unlock(&lock);
}

static void session_watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh; (void)path; (void)context;
    if (type == ZOO_SESSION_EVENT) add(state == ZOO_CONNECTED_STATE ? &connections : &disconnections);
}

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh; (void)state;
    if (type == ZOO_SESSION_EVENT) return;
    printf("event %s: type %d of %s\n", (const char *)context, type, path);
    add(&events);
}

static void tell_stat(const struct Stat *s) {
    printf("  version %d cversion %d aversion %d length %d children %d ephemeral %d czxid=mzxid %d\n", s->version,
           s->cversion, s->aversion, s->dataLength, s->numChildren, s->ephemeralOwner != 0, s->czxid == s->mzxid);
}

static int by_name(const void *one, const void *other) {
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static void tell_list(const struct String_vector *list) {
    qsort(list->data, list->count, sizeof *list->data, by_name);
    for (int i = 0; i < list->count; i++) printf("  %s\n", list->data[i]);
}

static int said(const char *what, int rc) {
    printf("%s: %s\n", what, zerror(rc));
    return rc;
}

static void on_void(int rc, const void *data) { said(data, rc); add(&answers); }
static void on_stat(int rc, const struct Stat *stat, const void *data) {
    if (said(data, rc) == ZOK) tell_stat(stat);
    add(&answers);
}
static void on_data(int rc, const char *value, int length, const struct Stat *stat, const void *data) {
    if (said(data, rc) == ZOK) printf("  %.*s\n", length < 0 ? 0 : length, value), tell_stat(stat);
    add(&answers);
}
static void on_string(int rc, const char *value, const void *data) {
    if (said(data, rc) == ZOK) printf("  %s\n", value);
    add(&answers);
}
static void on_strings(int rc, const struct String_vector *list, const struct Stat *stat, const void *data) {
    if (said(data, rc) == ZOK) {
        struct String_vector copy = {list->count, malloc(sizeof(char *) * (list->count + 1))};
        memcpy(copy.data, list->data, sizeof(char *) * list->count);
        tell_list(&copy);
        tell_stat(stat);
        free(copy.data);
    }
    add(&answers);
}
static void on_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *data) {
    if (said(data, rc) == ZOK)
        for (int i = 0; i < acl->count; i++)
            printf("  %d %s:%s aversion %d\n", acl->data[i].perms, acl->data[i].id.scheme, acl->data[i].id.id, stat->aversion);
    add(&answers);
}

static void basics(zhandle_t *zh) {
    char name[128], data[128];
    int length;
    struct Stat stat;
    struct String_vector list;
    struct ACL_vector acl;
    said("create /c", zoo_create(zh, "/c", "data", 4, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    said("create /c again", zoo_create(zh, "/c", "data", 4, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    said("create without data", zoo_create(zh, "/c/null", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    for (int i = 0; i < 3; i++) {
        said("create sequential", zoo_create(zh, "/c/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, i == 1 ? 3 : 2, name, sizeof name));
        printf("  %s\n", name);
    }
    if (said("create2", zoo_create2(zh, "/c/e", "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, name, sizeof name, &stat)) == ZOK)
        tell_stat(&stat);
    said("a child of an ephemeral", zoo_create(zh, "/c/e/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    if (said("create2 with a TTL",
             zoo_create2_ttl(zh, "/c/ttl", "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 1000000, name, sizeof name, &stat)) == ZOK)
        tell_stat(&stat);
    said("container", zoo_create(zh, "/c/box", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, name, sizeof name));
    length = sizeof data;
    said("get", zoo_get(zh, "/c", 0, data, &length, &stat));
    printf("  %.*s\n", length, data);
    tell_stat(&stat);
    length = sizeof data;
    said("get without data", zoo_get(zh, "/c/null", 0, data, &length, &stat));
    printf("  length %d\n", length);
    if (said("set2", zoo_set2(zh, "/c", "more", 4, 0, &stat)) == ZOK) tell_stat(&stat);
    said("set with a wrong version", zoo_set(zh, "/c", "more", 4, 0));
    said("exists", zoo_exists(zh, "/c/none", 0, &stat));
    if (said("children2", zoo_get_children2(zh, "/c", 0, &list, &stat)) == ZOK) tell_list(&list), tell_stat(&stat);
    said("delete with children", zoo_delete(zh, "/c", -1));
    said("delete with a wrong version", zoo_delete(zh, "/c/null", 5));
    said("delete", zoo_delete(zh, "/c/null", 0));
    if (said("get_acl", zoo_get_acl(zh, "/c", &acl, &stat)) == ZOK)
        printf("  %d %s:%s\n", acl.data[0].perms, acl.data[0].id.scheme, acl.data[0].id.id);
    length = sizeof data;
    said("getconfig", zoo_getconfig(zh, 0, data, &length, &stat));
    said("reconfig", zoo_reconfig(zh, "server.9=localhost:1:2;3", NULL, NULL, -1, data, &length, &stat));
}

static void multis(zhandle_t *zh) {
    char names[2][64];
    struct Stat stat;
    zoo_op_t ops[4];
    zoo_op_result_t results[4];
    for (int fails = 0; fails < 2; fails++) {
        zoo_create_op_init(&ops[0], fails ? "/m2" : "/m", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, names[0], sizeof names[0]);
        zoo_create_op_init(&ops[1], fails ? "/m2/s" : "/m/s", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, names[1], sizeof names[1]);
        zoo_set_op_init(&ops[2], "/m", "x", 1, fails ? 9 : 0, &stat);
        zoo_check_op_init(&ops[3], "/m", 1);
        said("multi", zoo_multi(zh, 4, ops, results));
        for (int i = 0; i < 4; i++) printf("  %s\n", zerror(results[i].err));
        if (!fails) printf("  %s %s\n", names[0], names[1]);
    }
}

static void pipelined(zhandle_t *zh) {
    static char texts[40][32];
    int begun = answers, asked = 0;
    for (int i = 0; i < 40; i++) {
        snprintf(texts[i], sizeof texts[i], "async %d", i);
        switch (i % 8) {
        case 0: zoo_acreate(zh, "/a", texts[i], 7, &ZOO_OPEN_ACL_UNSAFE, 0, on_string, texts[i]); break;
        case 1: zoo_aset(zh, "/a", texts[i], 7, i < 20 ? -1 : 3, on_stat, texts[i]); break;
        case 2: zoo_aget(zh, "/a", 0, on_data, texts[i]); break;
        case 3: zoo_acreate(zh, "/a/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, on_string, texts[i]); break;
        case 4: zoo_aget_children2(zh, "/a", 0, on_strings, texts[i]); break;
        case 5: zoo_aexists(zh, i < 20 ? "/none" : "/a", 0, on_stat, texts[i]); break;
        case 6: zoo_aget_acl(zh, "/a", on_acl, texts[i]); break;
        case 7: zoo_adelete(zh, "/a/s-0000000001", -1, on_void, texts[i]); break;
        }
        asked++;
    }
    zoo_async(zh, "/a", on_string, "sync");
    wait_for("answers", &answers, begun + asked + 1);
}

static void identities(zhandle_t *zh) {
    struct ACL_vector acl;
    struct Stat stat;
    char name[64], data[64];
    int length = sizeof data, begun = answers;
    zoo_add_auth(zh, "digest", "me:secret", 9, on_void, "auth");
    wait_for("auth", &answers, begun + 1);
    said("create for me", zoo_create(zh, "/mine", "", 0, &ZOO_CREATOR_ALL_ACL, 0, name, sizeof name));
    if (said("its ACL", zoo_get_acl(zh, "/mine", &acl, &stat)) == ZOK)
        printf("  %d %s:%s\n", acl.data[0].perms, acl.data[0].id.scheme, acl.data[0].id.id);
    struct Id nobody = {"digest", "nobody:x"};
    struct ACL other = {ZOO_PERM_READ, nobody};
    struct ACL_vector others = {1, &other};
    said("set_acl", zoo_set_acl(zh, "/mine", 0, &others));
    said("get what others may", zoo_get(zh, "/mine", 0, data, &length, &stat));
    said("set what others may", zoo_set(zh, "/mine", "", 0, -1));
}

static void watches(zhandle_t *zh, zhandle_t *writer) {
    struct Stat stat;
    struct String_vector list;
    char data[64], name[64];
    int length = sizeof data, begun = events;
    zoo_create(writer, "/w", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name);
    said("wexists", zoo_wexists(zh, "/w/none", watcher, "exists", &stat));
    said("wget", zoo_wget(zh, "/w", watcher, "data", data, &length, &stat));
    said("wget_children", zoo_wget_children(zh, "/w", watcher, "children", &list));
    said("set", zoo_set(writer, "/w", "1", 1, -1));
    wait_for("data event", &events, begun + 1);
    said("create", zoo_create(writer, "/w/none", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    wait_for("two events", &events, begun + 3);
    said("wget", zoo_wget(zh, "/w", watcher, "removed", data, &length, &stat));
    said("remove_watches", zoo_remove_watches(zh, "/w", ZWATCHTYPE_DATA, watcher, "removed", 0));
    said("remove_watches again", zoo_remove_watches(zh, "/w", ZWATCHTYPE_DATA, watcher, "removed", 0));
    said("set", zoo_set(writer, "/w", "2", 1, -1));

    /* Set before the connection goes, fired after it came back; one of them while it was away. */
    said("wget", zoo_wget(zh, "/w", watcher, "kept data", data, &length, &stat));
    said("wexists", zoo_wexists(zh, "/w/later", watcher, "kept exists", &stat));
    said("wget_children", zoo_wget_children(zh, "/w/none", watcher, "kept children", &list));
    int before = connections;
    printf("cut\n");
    fflush(stdout);
    wait_for("connection after the cut", &connections, before + 1);
    length = sizeof data;
    said("get after the cut", zoo_get(zh, "/c/e", 0, data, &length, &stat));
    tell_stat(&stat);
    said("set", zoo_set(writer, "/w", "3", 1, -1));
    wait_for("kept data", &events, begun + 4);
    said("create", zoo_create(writer, "/w/later", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    wait_for("kept exists", &events, begun + 5);
    said("create", zoo_create(writer, "/w/none/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name));
    wait_for("kept children", &events, begun + 6);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zoo_set_log_stream(stderr);
    /* The first goes through what cuts it, the second does not. */
    zhandle_t *zh = zookeeper_init(arguments[1], session_watcher, 20000, NULL, NULL, 0);
    wait_for("connection", &connections, 1);
    zhandle_t *writer = zookeeper_init(arguments[2], session_watcher, 20000, NULL, NULL, 0);
    wait_for("connection", &connections, 2);
    basics(zh);
    multis(zh);
    pipelined(zh);
    identities(zh);
    watches(zh, writer);
    struct Stat stat;
    said("close", zookeeper_close(zh));
    said("the ephemeral of a closed session", zoo_exists(writer, "/c/e", 0, &stat));
    said("close", zookeeper_close(writer));
    return 0;
}
