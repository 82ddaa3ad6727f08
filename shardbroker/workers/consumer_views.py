"""What answers and monitoring pages show of the consumers of this worker's streams.

The acceptor asks for its pages with a Query (`answer_query`): a bounded piece each time, in the order of
accounts, streams and names, so that it can ask for what comes behind the last one it was told. Making a
ConsumerInfo is Python; a worker with thousands of consumers would otherwise not route for that long.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from shardbroker import limits
from shardbroker.jetstream import consumer_types
from shardbroker.jetstream.config_metadata import DEAD_LETTERS_WAITING_KEY
from shardbroker.version import NATS_VERSION

if TYPE_CHECKING:
    from shardbroker.workers.hosted_consumer import HostedConsumer
    from shardbroker.workers.jetstream import JetStream


def info_of(js: "JetStream", stream: str, one: "HostedConsumer", *, with_version: bool) -> dict:
    """A ConsumerInfo. ``with_version``: the metadata says who answers (CREATE, INFO and RESET do)."""
    consumer = one.consumer
    config = consumer.config
    groups = [
        consumer_types.priority_group(group, one.pulls.pinned.decode(), one.pulls.pinned_ns or None)
        for group in (config.priority_groups or ())[:1]  # nats-server uses the first one alone
    ]
    shown = config.to_json_dict(NATS_VERSION if with_version else None)
    if consumer.num_dead:
        # Where `nats consumer info` shows it.
        shown["metadata"] = {**shown["metadata"], DEAD_LETTERS_WAITING_KEY: str(consumer.num_dead)}
    return consumer_types.consumer_info(
        stream=stream,
        name=one.name,
        created=consumer.created_ns,
        config=shown,
        delivered=consumer_types.sequences(
            consumer.next_consumer_sequence - 1, consumer.delivered_stream, one.delivered_ns or None
        ),
        ack_floor=consumer_types.sequences(
            consumer.floor_consumer, consumer.floor_stream, one.acked_ns or None
        ),
        ack_pending=one.ack_pending(),
        redelivered=consumer.num_redelivered,
        waiting=len(one.pulls),
        pending=consumer.num_pending,
        now=time.time_ns(),
        push_bound=not one.is_pull and js.consumers.is_listened(one),
        pause_until=consumer.paused_until_ns or None,
        priority_groups=groups,
    )


def answer_query(js: "JetStream", arguments: dict) -> dict:
    """The next consumers of this worker for a monitoring page (messages.QUERY_CONSUMERS).

    ``account``, ``stream`` and ``consumer`` choose, where they are given; ``after`` is the place of the last
    consumer that was told before. Without ``config`` infos come without their configurations. The answer has
    ``consumers``, a list of [account, stream, info], and ``more``: whether others are left.
    """
    wanted = [arguments.get(name, "") for name in ("account", "stream", "consumer")]
    after = tuple(arguments.get("after") or ("", "", ""))
    found: list[tuple[str, str, dict]] = []
    for account, stream, one in _consumers(js, wanted, after):
        if len(found) == limits.consumers_answered_max:
            return {"consumers": found, "more": True}
        info = info_of(js, stream, one, with_version=False)
        if not arguments.get("config"):
            del info["config"]
        found.append((account, stream, info))
    return {"consumers": found, "more": False}


def _consumers(js: "JetStream", wanted: list[str], after: tuple) -> Iterator[tuple]:
    """(account, stream, HostedConsumer), in order, of what is wanted and comes after a place."""
    wanted_account, wanted_stream, wanted_consumer = wanted
    for account in sorted(js.entries):
        if wanted_account not in ("", account):
            continue
        for stream, entry in sorted(js.entries[account].items()):
            if entry.hosted is None or wanted_stream not in ("", stream):
                continue
            if (account, stream) < after[:2]:
                continue
            by_name = entry.hosted.details.consumers.by_name
            names = [wanted_consumer] if wanted_consumer else sorted(by_name)
            for name in names:
                if name in by_name and (account, stream, name) > after:
                    yield account, stream, by_name[name]
