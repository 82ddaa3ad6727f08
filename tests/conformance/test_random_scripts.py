"""Property: in random conversations of several clients, shardbroker delivers as nats-server does.

A script drawn from a seed: clients subscribe, unsubscribe (also counted), publish, request, hang up and
connect anew, on subjects so few that almost everything meets. Each step is answered before the next one, so
the answers are determined; only in scripts with queue groups is the choice of the member chance, and the sum
over all clients is compared. A failing seed is in the test's name: run it again with ``-k seed-7``.
"""

import random

import pytest

from tests.conformance.script import QUIET, WHOLE, Script, Step, talk
from tests.conformance.servers import ServerPool
from tests.conformance.test_differential import compare

TOKENS = [b"a", b"b", b"c"]
CLIENTS = ["k", "l", "m", "n"]
CONNECTS = [
    QUIET,
    QUIET,
    b'CONNECT {"verbose":false,"headers":false}\r\n',
    b'CONNECT {"verbose":true,"headers":true,"echo":false}\r\n',
]
STEPS = 60
HEADER_BLOCK = b"NATS/1.0\r\nA: 1\r\n\r\n"


class Author:
    """Writes one script."""

    def __init__(self, seed: int, *, queues: bool) -> None:
        self.random = random.Random(seed)
        self.queues = queues
        self.steps: list[Step] = []
        self.generation = dict.fromkeys(CLIENTS, 0)
        self.sids: dict[str, list[int]] = {name: [] for name in CLIENTS}
        self.headers: dict[str, bool] = {}
        self.next_sid = 1

    def write(self) -> tuple[Step, ...]:
        """All steps."""
        for client in CLIENTS:
            self.connect(client)
        acts = [self.subscribe, self.subscribe, self.publish, self.publish, self.publish, self.request,
                self.unsubscribe, self.publish_with_headers]  # fmt: skip
        for _ in range(STEPS):
            client = self.random.choice(CLIENTS)
            if self.random.random() < 0.03:
                self.reconnect(client)
            else:
                self.random.choice(acts)(client)
        return tuple(self.steps)

    def say(self, client: str, data: bytes) -> None:
        """One step of a client's present connection."""
        self.steps.append(Step(data, f"{client}{self.generation[client]}"))

    def connect(self, client: str) -> None:
        """Options are drawn for each connection."""
        # The member of a group that gets a message decides whether it has headers: no chance there.
        choices = [line for line in CONNECTS if b'"headers":true' in line] if self.queues else CONNECTS
        line = self.random.choice(choices)
        self.headers[client] = b'"headers":true' in line
        self.sids[client] = []
        self.say(client, line)

    def reconnect(self, client: str) -> None:
        """Hang up, wait until the server has noticed, come back."""
        name = f"{client}{self.generation[client]}"
        self.steps.append(Step(connection=name, hang_up=True))
        self.generation[client] += 1
        self.connect(client)
        self.steps.append(Step(connection=f"{client}{self.generation[client]}", rest_s=0.1))

    def subject(self, *, wild: bool) -> bytes:
        """One to three tokens, perhaps with wildcards."""
        tokens = [self.random.choice(TOKENS) for _ in range(self.random.randint(1, 3))]
        if wild:
            tokens = [b"*" if self.random.random() < 0.3 else token for token in tokens]
            if self.random.random() < 0.25:
                tokens[-1] = b">"
        return b".".join(tokens)

    def subscribe(self, client: str) -> None:
        """Plain, in a queue, or counted."""
        subject, sid = self.subject(wild=True), self.next_sid
        self.next_sid += 1
        queue = self.random.choice([b"q ", b"r ", b""]) if self.queues else b""
        line = b"SUB %b %b%d\r\n" % (subject, queue, sid)
        # A counted member of a group would make later answers depend on chance.
        if not queue and self.random.random() < 0.3:
            line += b"UNSUB %d %d\r\n" % (sid, self.random.randint(1, 4))
        self.sids[client].append(sid)
        self.say(client, line)

    def unsubscribe(self, client: str) -> None:
        """One of the client's own, or one nobody knows."""
        sid = self.random.choice([*self.sids[client], 9999])
        self.say(client, b"UNSUB %d\r\n" % sid)

    def payload(self) -> bytes:
        """Distinct, so that a wrong delivery is seen."""
        return b"%d" % self.random.getrandbits(self.random.choice([8, 40, 1600]))

    def publish(self, client: str) -> None:
        """One to five messages in a packet."""
        lines = []
        for _ in range(self.random.randint(1, 5)):
            payload = self.payload()
            lines.append(b"PUB %b %d\r\n%b\r\n" % (self.subject(wild=False), len(payload), payload))
        self.say(client, b"".join(lines))

    def request(self, client: str) -> None:
        """A reply subject others may listen to; nobody there is answered 503."""
        self.say(client, b"PUB %b %b 1\r\n?\r\n" % (self.subject(wild=False), self.subject(wild=False)))

    def publish_with_headers(self, client: str) -> None:
        """Where the connection may."""
        if not self.headers[client]:
            return self.publish(client)
        payload = self.payload()
        sizes = (len(HEADER_BLOCK), len(HEADER_BLOCK) + len(payload))
        line = b"HPUB %b %d %d\r\n" % (self.subject(wild=False), *sizes)
        return self.say(client, line + HEADER_BLOCK + payload + b"\r\n")


def script_of(seed: int, *, queues: bool) -> Script:
    """The script of a seed."""
    kind = "queues" if queues else "plain"
    return talk(f"{kind} seed {seed}", *Author(seed, queues=queues).write(), pooled=queues)


@pytest.mark.parametrize("workers", [1, 2, 3], ids=lambda count: f"workers-{count}")
@pytest.mark.parametrize("seed", range(30), ids=lambda seed: f"seed-{seed}")
@pytest.mark.parametrize("queues", [False, True], ids=["plain", "queues"])
def test_random_conversation(pool: ServerPool, queues: bool, seed: int, workers: int) -> None:
    """The same answers on every connection, or the same sum with queue groups."""
    compare(script_of(seed, queues=queues), pool, workers, [WHOLE])
