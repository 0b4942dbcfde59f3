"""kazoo's recipes against a server: recipes.py HOST:PORT. One line for each that did what it should."""

import logging
import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError, NotEmptyError, RolledBackError
from kazoo.security import make_digest_acl

logging.basicConfig(level=logging.ERROR)
HOSTS = sys.argv[1]
LIMIT = 20


def client(**more):
    made = KazooClient(hosts=HOSTS, timeout=10, **more)
    made.start(timeout=LIMIT)
    return made


def wait(event, what):
    assert event.wait(LIMIT), what


def finish(threads):
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a thread hangs"


def locks(zk, others):
    inside, most, order = [0], [0], []

    def work(who, number):
        for _ in range(5):
            with who.Lock("/lock", str(number)):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                order.append(number)
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(who, at)) for at, who in enumerate(others)]
    for thread in threads:
        thread.start()
    finish(threads)
    assert most[0] == 1 and len(order) == 5 * len(others), (most, order)
    lock = zk.Lock("/lock", "me")
    assert lock.acquire(timeout=LIMIT)
    assert not others[0].Lock("/lock", "you").acquire(blocking=False)
    assert zk.Lock("/lock").contenders() == ["me"]
    lock.release()


def lock_of_the_dead(zk, others):
    dying = client()
    assert dying.Lock("/dying").acquire(timeout=LIMIT)
    got = threading.Event()

    def take():
        with zk.Lock("/dying"):
            got.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert not got.wait(0.2)
    dying.stop()
    wait(got, "the lock of a closed session")
    finish([thread])


def read_write_locks(zk, others):
    first, second = others[0].ReadLock("/rw"), others[1].ReadLock("/rw")
    assert first.acquire(timeout=LIMIT) and second.acquire(timeout=LIMIT)
    assert not zk.WriteLock("/rw").acquire(blocking=False)
    first.release()
    second.release()
    writing = zk.WriteLock("/rw")
    assert writing.acquire(timeout=LIMIT)
    writing.release()


def semaphores(zk, others):
    taken = [who.Semaphore("/semaphore", max_leases=2) for who in others]
    assert taken[0].acquire(timeout=LIMIT) and taken[1].acquire(timeout=LIMIT)
    assert not taken[2].acquire(blocking=False)
    taken[0].release()
    assert taken[2].acquire(timeout=LIMIT)
    taken[1].release()
    taken[2].release()


def elections(zk, others):
    led, lock = [], threading.Lock()

    def work(who, number):
        def lead():
            with lock:
                led.append(number)

        who.Election("/election", str(number)).run(lead)

    threads = [threading.Thread(target=work, args=(who, at)) for at, who in enumerate(others)]
    for thread in threads:
        thread.start()
    finish(threads)
    assert sorted(led) == list(range(len(others))), led


def queues(zk, others):
    queue = zk.Queue("/queue")
    for at in range(20):
        queue.put(b"%d" % at, priority=100 - at % 2)
    assert len(queue) == 20
    odd_first = [int(others[at % 3].Queue("/queue").get()) for at in range(20)]
    assert odd_first == [*range(1, 20, 2), *range(0, 20, 2)], odd_first
    assert queue.get() is None

    locking = zk.LockingQueue("/locking")
    locking.put_all([b"a", b"b"])
    assert locking.get(LIMIT) == b"a" and locking.holds_lock()
    assert others[0].LockingQueue("/locking").get(LIMIT) == b"b"
    assert locking.consume()
    assert len(locking) == 1


def counters(zk, others):
    def work(who):
        counter = who.Counter("/counter")
        for _ in range(20):
            counter += 1

    threads = [threading.Thread(target=work, args=(who,)) for who in others]
    for thread in threads:
        thread.start()
    finish(threads)
    assert zk.Counter("/counter").value == 20 * len(others)


def barriers(zk, others):
    together = []

    def work(who):
        barrier = who.DoubleBarrier("/double", len(others))
        barrier.enter()
        together.append(who)
        barrier.leave()

    threads = [threading.Thread(target=work, args=(who,)) for who in others]
    for thread in threads:
        thread.start()
    finish(threads)
    assert len(together) == len(others)


def parties(zk, others):
    joined = [who.Party("/party", str(at)) for at, who in enumerate(others)]
    for party in joined:
        party.join()
    assert sorted(zk.Party("/party")) == ["0", "1", "2"]
    joined[0].leave()
    assert sorted(zk.Party("/party")) == ["1", "2"]


def data_watches(zk, others):
    seen, enough = [], threading.Event()

    @zk.DataWatch("/watched")
    def changed(data, stat, event):
        seen.append(data)
        if data == b"end":
            enough.set()
            return False

    others[0].create("/watched", b"0")
    for at in range(10):
        others[at % 3].set("/watched", b"%d" % at)
    others[0].set("/watched", b"end")
    wait(enough, "the last change")
    numbers = [int(data) for data in seen if data not in (None, b"end")]
    assert seen[0] is None and numbers == sorted(numbers), seen


def children_watches(zk, others):
    zk.create("/parent")
    seen, enough = [], threading.Event()

    @zk.ChildrenWatch("/parent")
    def changed(children):
        seen.append(len(children))
        if len(children) == 15:
            enough.set()

    for at in range(15):
        others[at % 3].create(f"/parent/c{at}", ephemeral=True)
    wait(enough, "all children")
    assert seen == sorted(seen), seen


def transactions(zk, others):
    transaction = zk.transaction()
    transaction.create("/tx", b"1")
    transaction.create("/tx/child", b"")
    transaction.set_data("/tx", b"2")
    transaction.check("/tx", 1)
    created, below, stat, checked = transaction.commit()
    assert (created, below, stat.version, checked) == ("/tx", "/tx/child", 1, True)
    transaction = zk.transaction()
    transaction.delete("/tx/child")
    transaction.check("/tx", 7)
    transaction.set_data("/tx", b"3")
    results = transaction.commit()
    assert isinstance(results[0], RolledBackError) and isinstance(results[1], BadVersionError), results
    assert zk.get("/tx")[0] == b"2" and zk.exists("/tx/child")


def ephemerals(zk, others):
    short = client()
    gone = threading.Event()
    short.create("/ephemeral", ephemeral=True)
    path = short.create("/ephemeral-", ephemeral=True, sequence=True)
    stat = zk.exists("/ephemeral", watch=lambda event: gone.set())
    assert stat.ephemeralOwner == short.client_id[0]
    short.stop()
    wait(gone, "the end of an ephemeral")
    assert zk.exists(path) is None


def errors(zk, others):
    zk.ensure_path("/errors/deep/er")
    for error, call in [
        (NodeExistsError, lambda: zk.create("/errors")),
        (NoNodeError, lambda: zk.get("/errors/none")),
        (NotEmptyError, lambda: zk.delete("/errors")),
        (BadVersionError, lambda: zk.set("/errors", b"", version=5)),
    ]:
        try:
            call()
            raise AssertionError(f"{error} was to be raised")
        except error:
            pass
    zk.delete("/errors", recursive=True)
    assert zk.exists("/errors") is None


def access(zk, others):
    acl = make_digest_acl("kim", "secret", all=True)
    zk.create("/private", b"x", acl=[acl])
    kim = client(auth_data=[("digest", "kim:secret")])
    assert kim.get("/private")[0] == b"x"
    try:
        zk.get("/private")
        raise AssertionError("the private znode was shown")
    except Exception as error:
        assert type(error).__name__ == "NoAuthError", error
    kim.stop()


def many_at_once(zk, others):
    zk.create("/many")
    results = [zk.create_async(f"/many/{at}", b"x" * at) for at in range(300)]
    results += [zk.get_async("/many") for _ in range(300)]
    for result in results:
        result.get(timeout=LIMIT)
    assert len(zk.get_children("/many")) == 300


def main():
    zk, others = client(), [client() for _ in range(3)]
    assert zk.state == KazooState.CONNECTED
    for recipe in [
        locks, lock_of_the_dead, read_write_locks, semaphores, elections, queues, counters, barriers, parties,
        data_watches, children_watches, transactions, ephemerals, errors, access, many_at_once,
    ]:
        recipe(zk, others)
        print("ok", recipe.__name__, flush=True)
    for each in [zk, *others]:
        each.stop()
        each.close()


main()
