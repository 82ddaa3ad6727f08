"""What a broker tells of a consumer: its info, the answers to calls, and the events of its life.

Everything is a dict with keys in nats-server's order and what is empty left out; `go_encoding.encode` makes
bytes of it. Numbers, times (nanoseconds since 1970) and configurations come as plain values: nothing here
knows a consumer. Refusals are `api_types.refusal`, pages `api_types.names_page` and `list_page`, DELETE is
`api_types.success`.

Events come as `Event`: who sends it adds ``id`` and ``timestamp`` behind the type.

Source: spec pages 02 (section 4), 04 and 06; compared with nats-server 2.15.1.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shardbroker.jetstream.api_types import answer
from shardbroker.jetstream.go_time import ZERO_TIME, format_time

_ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER."
_ADVISORY_TYPE = "io.nats.jetstream.advisory.v1."
_OWN_TYPE = "io.shardbroker.jetstream.advisory.v1."
_METRIC = "$JS.EVENT.METRIC.CONSUMER.ACK."
_METRIC_TYPE = "io.nats.jetstream.metric.v1.consumer_ack"

# Reasons of a terminated message that no client has given.
REASON_DELETED_UNACKNOWLEDGED = "Unacknowledged message was deleted"
# Why a client lost its pin.
UNPINNED_BY_ADMIN = "admin"
UNPINNED_BY_TIME = "timeout"


class Event(NamedTuple):
    """An advisory or a metric."""

    subject: str
    type: str
    fields: dict[str, object]


def sequences(consumer_seq: int, stream_seq: int, last_active: int | None = None) -> dict[str, object]:
    """A pair of sequences, and when the last of them was; None for never."""
    pair: dict[str, object] = {"consumer_seq": consumer_seq, "stream_seq": stream_seq}
    if last_active is not None:
        pair["last_active"] = format_time(last_active)
    return pair


def priority_group(group: str, pinned_id: str = "", pinned_time: int | None = None) -> dict[str, object]:
    """The state of a group: which client it is pinned to, since when. None for never."""
    state: dict[str, object] = {"group": group}
    if pinned_id:
        state["pinned_client_id"] = pinned_id
    state["pinned_ts"] = format_time(ZERO_TIME if pinned_time is None else pinned_time)
    return state


def consumer_info(
    *,
    stream: str,
    name: str,
    created: int,
    config: Mapping[str, object],
    delivered: Mapping[str, object],
    ack_floor: Mapping[str, object],
    ack_pending: int,
    redelivered: int,
    waiting: int,
    pending: int,
    now: int,
    push_bound: bool = False,
    pause_until: int | None = None,
    priority_groups: Sequence[Mapping[str, object]] = (),
) -> dict[str, object]:
    """A ConsumerInfo. ``config`` is `ConsumerConfig.to_json_dict`: with the server's version in the answers
    to CREATE, INFO and RESET, without it in lists.

    With max_deliver 1 nothing is delivered again, and ``redelivered`` is 0 to the outside.
    """
    info: dict[str, object] = {
        "stream_name": stream,
        "name": name,
        "created": format_time(created),
        "config": config,
        "delivered": delivered,
        "ack_floor": ack_floor,
        "num_ack_pending": ack_pending,
        "num_redelivered": 0 if config["max_deliver"] == 1 else redelivered,
        "num_waiting": waiting,
        "num_pending": pending,
    }
    if push_bound:
        info["push_bound"] = True
    if pause_until is not None and now < pause_until:
        info["paused"] = True
        info["pause_remaining"] = pause_until - now
    info["ts"] = format_time(now)
    if priority_groups:
        info["priority_groups"] = list(priority_groups)
    return info


def create_answer(info: Mapping[str, object]) -> dict[str, object]:
    """CONSUMER.CREATE and CONSUMER.DURABLE.CREATE."""
    return answer("CONSUMER.CREATE", info)


def info_answer(info: Mapping[str, object]) -> dict[str, object]:
    """CONSUMER.INFO."""
    return answer("CONSUMER.INFO", info)


def reset_answer(info: Mapping[str, object], sequence: int) -> dict[str, object]:
    """CONSUMER.RESET: the sequence that comes next."""
    return answer("CONSUMER.RESET", {**info, "reset_seq": sequence})


def pause_answer(pause_until: int | None, now: int) -> dict[str, object]:
    """CONSUMER.PAUSE; None for a consumer that was told to go on."""
    until = ZERO_TIME if pause_until is None else pause_until
    fields: dict[str, object] = {"paused": now < until, "pause_until": format_time(until)}
    if now < until:
        fields["pause_remaining"] = until - now
    return answer("CONSUMER.PAUSE", fields)


def unpin_answer() -> dict[str, object]:
    """CONSUMER.UNPIN."""
    return answer("CONSUMER.UNPIN")


def created(stream: str, consumer: str, domain: str = "") -> Event:
    """A consumer was made."""
    return _event("CREATED", "consumer_action", stream, consumer, {"action": "create"}, domain)


def deleted(stream: str, consumer: str, domain: str = "") -> Event:
    """A consumer is gone, by a request or because nobody used it."""
    return _event("DELETED", "consumer_action", stream, consumer, {"action": "delete"}, domain)


def paused(stream: str, consumer: str, pause_until: int | None, now: int, domain: str = "") -> Event:
    """A consumer was paused, or goes on."""
    until = ZERO_TIME if pause_until is None else pause_until
    fields = {"paused": now < until, "pause_until": format_time(until)}
    return _event("PAUSE", "consumer_pause", stream, consumer, fields, domain)


def max_deliveries(stream: str, consumer: str, stream_seq: int, deliveries: int, domain: str = "") -> Event:
    """A message was delivered as often as allowed and not acknowledged."""
    fields = {"stream_seq": stream_seq, "deliveries": deliveries}
    return _event("MAX_DELIVERIES", "max_deliver", stream, consumer, fields, domain)


def naked(
    stream: str, consumer: str, consumer_seq: int, stream_seq: int, deliveries: int, domain: str = ""
) -> Event:
    """A client gave a message back."""
    fields = {"consumer_seq": consumer_seq, "stream_seq": stream_seq, "deliveries": deliveries}
    return _event("MSG_NAKED", "nak", stream, consumer, fields, domain)


def terminated(
    stream: str,
    consumer: str,
    consumer_seq: int,
    stream_seq: int,
    deliveries: int,
    reason: str = "",
    domain: str = "",
) -> Event:
    """A message will not be delivered again: a client said so, or it was deleted."""
    fields: dict[str, object] = {
        "consumer_seq": consumer_seq,
        "stream_seq": stream_seq,
        "deliveries": deliveries,
    }
    if reason:
        fields["reason"] = reason
    return _event("MSG_TERMINATED", "terminated", stream, consumer, fields, domain)


def dead_letter_failed(
    stream: str, consumer: str, subject: str, reason: str, waiting: int, domain: str = ""
) -> Event:
    """Of shardbroker alone: dead letters cannot be stored where they are collected; so many wait."""
    fields = {"dead_letter": subject, "reason": reason, "waiting": waiting}
    whole = _with_domain({"stream": stream, "consumer": consumer, **fields}, domain)
    return Event(
        f"{_ADVISORY}DEAD_LETTER_FAILED.{stream}.{consumer}", _OWN_TYPE + "dead_letter_failed", whole
    )


def pinned(
    stream: str, consumer: str, group: str, pinned_id: str, *, account: str, domain: str = ""
) -> Event:
    """A group is served through one client from now on."""
    fields = {"group": group, "pinned_id": pinned_id}
    return _group_event("PINNED", "consumer_group_pinned", stream, consumer, fields, domain, account)


def unpinned(stream: str, consumer: str, group: str, reason: str, *, account: str, domain: str = "") -> Event:
    """A group's client lost its pin; ``reason`` is one of UNPINNED_..."""
    fields = {"group": group, "reason": reason}
    return _group_event("UNPINNED", "consumer_group_unpinned", stream, consumer, fields, domain, account)


def ack_metric(
    stream: str,
    consumer: str,
    consumer_seq: int,
    stream_seq: int,
    ack_time: int,
    deliveries: int,
    domain: str = "",
) -> Event:
    """A sampled acknowledgement, ``ack_time`` nanoseconds after the delivery."""
    fields: dict[str, object] = {
        "stream": stream,
        "consumer": consumer,
        "consumer_seq": consumer_seq,
        "stream_seq": stream_seq,
        "ack_time": ack_time,
        "deliveries": deliveries,
    }
    return Event(f"{_METRIC}{stream}.{consumer}", _METRIC_TYPE, _with_domain(fields, domain))


def _event(
    what: str, kind: str, stream: str, consumer: str, fields: Mapping[str, object], domain: str
) -> Event:
    whole = _with_domain({"stream": stream, "consumer": consumer, **fields}, domain)
    return Event(f"{_ADVISORY}{what}.{stream}.{consumer}", _ADVISORY_TYPE + kind, whole)


def _group_event(
    what: str, kind: str, stream: str, consumer: str, fields: Mapping[str, object], domain: str, account: str
) -> Event:
    head = {"account": account, "stream": stream, "consumer": consumer}
    whole = {**_with_domain(head, domain), **fields}
    return Event(f"{_ADVISORY}{what}.{stream}.{consumer}", _ADVISORY_TYPE + kind, whole)


def _with_domain(fields: dict[str, object], domain: str) -> dict[str, object]:
    return {**fields, "domain": domain} if domain else fields
