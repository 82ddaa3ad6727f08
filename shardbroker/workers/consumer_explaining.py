"""$SHARDBROKER.CONSUMER.EXPLAIN.<stream>.<consumer>: why a consumer does not deliver, or not more.

The stream's owner answers, as for $JS.API, and after everything that the stream has accepted before. What is
found is decided in jetstream/consumer_explain.py; here its facts are gathered from the state machines and
from what only a worker knows: who listens, and what waits for its time. Nothing is changed by asking.
"""

from typing import TYPE_CHECKING

from shardbroker.jetstream import api_errors
from shardbroker.jetstream.consumer_explain import explain
from shardbroker.jetstream.consumer_facts import flow_facts, pull_facts, state_facts
from shardbroker.jetstream.explain_facts import ConsumerFacts

if TYPE_CHECKING:
    from shardbroker.workers.hosted_consumer import HostedConsumer
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_api import Request
    from shardbroker.workers.stream_opening import StreamEntry

#: Digits of the time that stands in the reply subject of a delivery.
_TIME_DIGITS = 19


def explain_consumer(request: "Request") -> None:
    """CONSUMER.EXPLAIN; the body is not read."""
    js = request.api.js

    def answer(_errno: int) -> None:
        entry = request.entry()
        one = entry.hosted.details.consumers.by_name.get(request.tokens[1])
        if one is None:
            raise api_errors.CONSUMER_NOT_FOUND.fresh()
        now_ns = js.host.wall_ns()
        request.answer(explain(one.consumer.config, facts_of(js, entry, one, now_ns), now_ns))

    js.host.when_applied(request.entry().hosted, request.later(answer))


def facts_of(js: "JetStream", entry: "StreamEntry", one: "HostedConsumer", now_ns: int) -> ConsumerFacts:
    """All that is known of a consumer of this worker."""
    consumer = one.consumer
    config = consumer.config
    state = state_facts(consumer)
    charged = _charged_size(entry.name, one, state)
    is_bound = not one.is_pull and js.consumers.is_listened(one)
    is_copy = entry.config.mirror is not None or entry.config.sources
    return ConsumerFacts(
        stream=entry.name,
        consumer=one.name,
        stream_subjects=[] if is_copy else list(entry.config.subjects or ()),
        is_held=bool(one.is_held),
        last_delivery=one.delivered_ns,
        last_ack=one.acked_ns,
        active=one.active_ns,
        not_before=one.not_before_ns,
        charged_size=charged,
        is_bound=is_bound,
        is_new_listener=is_bound and not one.is_bound,
        others_listen=not one.is_pull and js.host.has_interest(one.hosted.account, one.deliver_subject),
        is_pressed=not one.is_pull and js.consumers.holds_pushes_back(),
        **state,
        **pull_facts(one.pulls, charged, state["num_pending"], state["ack_pending"], now_ns),
        **(flow_facts(one.flow) if config.flow_control else {}),
    )


def _charged_size(stream: str, one: "HostedConsumer", state: dict) -> int:
    """What the next message counts against max_bytes: its own bytes and those of its reply subject.

    0 where that is not known: without payloads, sizes of headers alone would have to be read.
    """
    if not state["next_size"] or one.consumer.config.headers_only:
        return 0
    numbers = f"1.{state['next_sequence']}.{state['delivered_consumer'] + 1}..{state['num_pending']}"
    return state["next_size"] + len(f"$JS.ACK.{stream}.{one.name}.{numbers}") + _TIME_DIGITS
