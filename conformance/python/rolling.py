"""kazoo clients that write while members are restarted:

    rolling.py HOST:PORT,HOST:PORT,HOST:PORT CLIENTS

Each client sets its znode to numbers that grow, and creates a child with each. Prints a line for each 25 numbers of a
client, and when its input ends, as JSON: for each client the numbers that were acknowledged and sent last, the children
that were acknowledged, and how often which exception came.
"""

import json
import logging
import sys
import threading
import time

from kazoo.client import KazooClient

hosts, clients = sys.argv[1], int(sys.argv[2])
logging.basicConfig(level=logging.CRITICAL)
ending = threading.Event()
told = threading.Lock()
results = [None] * clients


def work(me):
    zk = KazooClient(hosts=hosts, timeout=10)
    zk.start(timeout=30)
    path = "/k%d" % me
    zk.create(path, b"0")
    number, acknowledged, children, failures = 0, 0, [], {}
    while not ending.is_set():
        number += 1
        try:
            zk.set(path, b"%d" % number)
            acknowledged = number
            zk.create("%s/%d" % (path, number), b"")
            children.append(number)
        except Exception as error:  # What came of it is what is counted.
            name = type(error).__name__
            failures[name] = failures.get(name, 0) + 1
        if number % 25 == 0:
            with told:
                print("%d has %d" % (me, number), flush=True)
        time.sleep(0.01)
    results[me] = dict(acknowledged=acknowledged, sent=number, children=children, failures=failures)
    zk.stop()


threads = [threading.Thread(target=work, args=(me,), daemon=True) for me in range(clients)]
for thread in threads:
    thread.start()
sys.stdin.read()
ending.set()
for thread in threads:
    thread.join(60)
print(json.dumps(results), flush=True)
