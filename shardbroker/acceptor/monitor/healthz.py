"""/healthz: ready for clients or not; and of JetStream what is asked for.

One worker being restarted is no reason to take the server out of service: the others serve, and the slot is
back in a moment. The same goes for the stream-writer. Answers about accounts, streams and consumers are
nats-server's. Two things differ, for a reason: a disk that is full or fails is told here (nats-server
switches JetStream off then, we refuse publishes and go on when it heals), and ``js-enabled-only`` leaves it
out, because probes that restart a server ask that, and a restart makes no room.
"""

from shardbroker.acceptor.catalog import DAMAGED, LIVE
from shardbroker.acceptor.monitor.page import bool_argument, json_page
from shardbroker.acceptor.worker import UP

_FLAGS = ("js-enabled", "js-enabled-only", "js-server-only", "js-meta-only", "details")


class _Illness(Exception):
    """What is wrong: the status, and an entry of ``errors``."""

    def __init__(self, status: int, kind: str, text: str, **where: str):
        super().__init__(text)
        self.status = status
        self.entry = {"type": kind, **{key: name for key, name in where.items() if name}, "error": text}


def healthz(monitor, request, respond) -> None:
    flags = {name: bool_argument(request, name) for name in _FLAGS}
    broker = monitor.broker
    found = list(_illnesses(broker, request, flags))
    if not found:
        respond(json_page({"status": "ok"}, indent=False))
        return
    first = found[0]
    status = first.status
    if flags["details"]:
        broker.log.warn(f"Healthcheck failed: {len(found)} errors")
        page: dict = {"status": "error", "errors": [illness.entry for illness in found]}
    else:
        broker.log.warn(f'Healthcheck failed: "{first}"')
        page = {"status": "error" if status == 400 else "unavailable", "error": str(first)}
    respond(json_page(page, status=status, indent=False))


def _illnesses(broker, request, flags: dict[str, bool]):
    """What is wrong, in the order of nats-server's looking."""
    query = request.query
    account, stream, consumer = (query.get(name, "") for name in ("account", "stream", "consumer"))
    if stream and not account:
        yield _bad_request('"account" must not be empty when checking stream health')
        return
    if consumer and not stream:
        yield _bad_request('"stream" must not be empty when checking consumer health')
        return
    if not any(worker.state == UP for worker in broker.workers):
        yield _Illness(503, "CONN", "no worker is ready")
        return
    if broker.jetstream is None or flags["js-enabled"] or flags["js-enabled-only"]:
        return
    for fault in broker.jetstream.writer.faults:
        yield _Illness(503, "JETSTREAM", f"JetStream store: {fault}")
    if flags["js-server-only"] or flags["js-meta-only"]:
        return
    if account:
        yield from _of_account(broker.jetstream, account, stream, consumer)
    else:
        yield from (_damaged(entry) for entry, _ in broker.jetstream.damaged())


def _of_account(jetstream, account: str, stream: str, consumer: str):
    catalog = jetstream.catalog
    if account not in catalog.accounts and account != "$G":
        yield _Illness(404, "ACCOUNT", f'JetStream account "{account}" not found', account=account)
        return
    entries = catalog.account(account).entries
    if not stream:
        yield from (_damaged(entry) for entry, _ in jetstream.damaged() if entry.account == account)
        return
    entry = entries.get(stream)
    where = {"account": account, "stream": stream}
    if entry is None or entry.state not in (LIVE, DAMAGED):
        yield _Illness(
            404, "STREAM", f'JetStream stream "{stream}" not found on account "{account}"', **where
        )
    elif any(entry is each for each, _ in jetstream.damaged()):
        yield _damaged(entry)
    elif consumer:
        text = f'JetStream consumer "{consumer}" not found for stream "{stream}" on account "{account}"'
        yield _Illness(404, "CONSUMER", text, **where, consumer=consumer)


def _damaged(entry) -> _Illness:
    text = f"JetStream stream '{entry.account} > {entry.name}' could not be recovered"
    return _Illness(503, "STREAM", text, account=entry.account, stream=entry.name)


def _bad_request(text: str) -> _Illness:
    return _Illness(400, "BAD_REQUEST", text)
