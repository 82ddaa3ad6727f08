"""A broker that stops in order tells everybody whose pull request waits, in whichever worker the client is.

The consumer's worker knows who waits, another one may have the connection: the word must be with it before it
closes its clients.
"""

import json
import signal
from pathlib import Path

import pytest

from tests.support.broker_process import BrokerProcess, is_shardbroker

CLIENTS = 8


@pytest.mark.skipif(not is_shardbroker(), reason="it is about several workers")
def test_waiting_pull_requests_end_with_a_status(tmp_path: Path) -> None:
    with BrokerProcess(workers=2, jetstream="true", store_dir=tmp_path) as broker:
        admin = broker.client()
        admin.subscribe("answer", 1)
        requests = {
            "STREAM.CREATE.S": {"name": "S", "subjects": ["S.>"]},
            "CONSUMER.CREATE.S.c": {"stream_name": "S", "config": {"durable_name": "c"}},
        }
        for call, body in requests.items():
            text = json.dumps(body).encode()
            admin.send(b"PUB $JS.API.%s answer %d\r\n%s\r\n" % (call.encode(), len(text), text))
            assert b'"error"' not in admin.read_messages(1)[0].payload
        clients = broker.clients(CLIENTS)
        body = b'{"batch": 1, "expires": 60000000000}'
        for number, client in enumerate(clients):
            client.subscribe(f"mine.{number}", 1)
            client.send(b"PUB $JS.API.CONSUMER.MSG.NEXT.S.c mine.%d %d\r\n%s\r\n" % (number, len(body), body))
            client.flush()
        waiting = 0
        while waiting < CLIENTS:
            admin.send(b"PUB $JS.API.CONSUMER.INFO.S.c answer 0\r\n\r\n")
            waiting = json.loads(admin.read_messages(1)[0].payload)["num_waiting"]
        assert broker.end_with(signal.SIGTERM) == 0
        for client in clients:
            (message,) = client.read_messages(1)
            assert message.headers.startswith(b"NATS/1.0 409 Server Shutdown\r\n")
