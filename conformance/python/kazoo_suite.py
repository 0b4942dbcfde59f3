"""A pytest plugin for kazoo's own tests: each worker has its own ports, and the tests in kazoo-skipped.txt must fail.

What is listed there is still run, for a short while: one that passes fails the run, so that its line goes. Where each
worker has several servers, what needs an ensemble must pass.
"""

import os
import socket

import pytest

LISTED = os.path.join(os.path.dirname(__file__), "kazoo-skipped.txt")
# Seconds for a test that is expected to fail, and for any other.
LISTED_LIMIT, LIMIT = 10, 90
# kazoo takes five ports from each tenth one on, for up to three servers; a test may add one.
PORTS = 40
# Are there servers enough for an ensemble?
ENSEMBLE = int(os.environ.get("ZOOKEEPER_CLUSTER_SIZE", "1")) > 1


def pytest_configure(config):
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    # Members of ensembles, which other tests may start meanwhile, have theirs below (PORT_FIRST, PORTS in ensemble.rs).
    start = 26000 + (os.getppid() % 40) * 140 + worker * PORTS
    os.environ["ZOOKEEPER_PORT_OFFSET"] = str(next(at for at in range(start, 32000, PORTS * 8) if free(at)))


def free(start):
    for port in range(start, start + PORTS):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def listed():
    reasons = {}
    with open(LISTED, encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                test, reason = line.strip().split(": ", 1)
                if not (ENSEMBLE and reason.startswith("needs an ensemble")):
                    reasons[test] = reason
    return reasons


def pytest_collection_modifyitems(items):
    reasons = listed()
    for item in items:
        reason = reasons.pop(item.nodeid.removeprefix("kazoo/tests/"), None)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
        else:
            item.add_marker(pytest.mark.flaky(reruns=2))
        item.add_marker(pytest.mark.timeout(LIMIT if reason is None else LISTED_LIMIT))
    if reasons and len(items) > 400:
        raise pytest.UsageError("kazoo-skipped.txt names tests that are not there: " + ", ".join(reasons))
