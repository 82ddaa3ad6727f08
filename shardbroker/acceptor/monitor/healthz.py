"""/healthz: ready for clients or not; and of JetStream what is asked for.

One worker being restarted is no reason to take the server out of service: the others serve, and the slot is
back in a moment. The same goes for the stream-writer. Answers about accounts, streams and consumers are
nats-server's. What differs, for a reason: a disk that is full or fails is told here (nats-server
switches JetStream off then, we refuse publishes and go on when it heals), and ``js-enabled-only`` leaves it
out, because probes that restart a server ask that, and a restart makes no room. Memory streams with their
consumers are found, too (nats-server looks for directories on the disk).
"""

from shardbroker.acceptor.catalog import DAMAGED, LIVE
from shardbroker.acceptor.monitor.consumer_details import ConsumerDetails, collect
from shardbroker.acceptor.monitor.page import bool_argument, json_page
from shardbroker.acceptor.worker import UP

_SERVER_ONLY = ("js-enabled", "js-enabled-only", "js-server-only")
#: js-meta-only leaves nothing out in a server that is no member of a cluster.
_FLAGS = (*_SERVER_ONLY, "js-meta-only", "details")


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
    query = request.query
    is_stream_good = all(illness.entry["type"] == "JETSTREAM" for illness in found)
    if not query.get("consumer") or not is_stream_good or not _looks_at_assets(broker, flags):
        _respond(broker, respond, flags, found)
        return
    # The stream is there: whether it has such a consumer is known to its owner alone.
    where = {name: query[name] for name in ("account", "stream", "consumer")}
    owner = broker.jetstream.catalog.account(where["account"]).entries[where["stream"]].owner

    def answered(details: ConsumerDetails) -> None:
        _respond(broker, respond, flags, [*found, *_of_consumer(where, details)])

    collect(broker, [owner], where, answered)


def _respond(broker, respond, flags: dict[str, bool], found: list[_Illness]) -> None:
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


def _looks_at_assets(broker, flags: dict[str, bool]) -> bool:
    """Whether streams and consumers are asked for, and not the server alone."""
    return broker.jetstream is not None and not any(flags[name] for name in _SERVER_ONLY)


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
    if not _looks_at_assets(broker, flags):
        return
    if account:
        yield from _of_account(broker.jetstream, account, stream)
    else:
        yield from (_damaged(entry) for entry, _ in broker.jetstream.damaged())


def _of_account(jetstream, account: str, stream: str):
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


def _of_consumer(where: dict[str, str], details: ConsumerDetails):
    """What its stream's owner says of a consumer. One that gives no answer cannot deliver either."""
    name = f'JetStream consumer "{where["consumer"]}"'
    if details.missing:
        yield _Illness(503, "CONSUMER", f"{name} could not be looked at: {details.missing[0]}", **where)
    elif not details.count:
        text = f'{name} not found for stream "{where["stream"]}" on account "{where["account"]}"'
        yield _Illness(404, "CONSUMER", text, **where)


def _damaged(entry) -> _Illness:
    text = f"JetStream stream '{entry.account} > {entry.name}' could not be recovered"
    return _Illness(503, "STREAM", text, account=entry.account, stream=entry.name)


def _bad_request(text: str) -> _Illness:
    return _Illness(400, "BAD_REQUEST", text)
