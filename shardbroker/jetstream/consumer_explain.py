"""A consumer's state in words: the verdict, the reasons for it, and the figures behind them.

    blocked   something waits to be delivered, or never will come, and a reason *blocks* it
    limited   messages go out slower than they might
    idle      nothing is left to be delivered
    healthy   messages flow

`explain` is pure: who calls it gives the facts and the time. The answer's form is described in
docs/operating/consumer_explain.md; codes of reasons and keys of figures are not changed any more.
"""

from shardbroker.jetstream.api_types import answer
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.explain_clients import CLIENT_FINDINGS
from shardbroker.jetstream.explain_facts import (
    BLOCKS,
    LIMITS,
    NOTE,
    RECENT_NS,
    ConsumerFacts,
    Reason,
    ago,
    messages,
    span,
)
from shardbroker.jetstream.explain_state import STATE_FINDINGS
from shardbroker.jetstream.go_time import format_time

BLOCKED, LIMITED, IDLE, HEALTHY = "blocked", "limited", "idle", "healthy"
_ORDER = (BLOCKS, LIMITS, NOTE)


def explain(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> dict[str, object]:
    """The answer to $SHARDBROKER.CONSUMER.EXPLAIN.<stream>.<consumer>, as a dict."""
    found = (finding(config, facts, now_ns) for finding in (*STATE_FINDINGS, *CLIENT_FINDINGS))
    reasons = [reason for reason in found if reason is not None]
    verdict = _verdict(reasons, facts)
    if verdict == HEALTHY:
        reason = _unexplained(facts, now_ns)
        if reason is not None:
            verdict = BLOCKED
        reasons.append(reason or _flows(facts, now_ns))
    reasons.sort(key=lambda reason: _ORDER.index(reason.severity))
    fields = {
        "stream": facts.stream,
        "consumer": facts.consumer,
        "verdict": verdict,
        "reasons": [reason.to_json_dict() for reason in reasons],
        "figures": _figures(config, facts, now_ns),
    }
    return answer("CONSUMER.EXPLAIN", fields)


def _verdict(reasons: list[Reason], facts: ConsumerFacts) -> str:
    severities = {reason.severity for reason in reasons}
    if BLOCKS in severities:
        return BLOCKED
    if LIMITS in severities:
        return LIMITED
    return HEALTHY if facts.has_next else IDLE


def _unexplained(facts: ConsumerFacts, now_ns: int) -> Reason | None:
    """Nothing holds a message back that came long ago, and it does not go out: a fault of the broker."""
    if facts.redelivery_due or facts.is_new_listener or not facts.next_stored:
        return None  # it will go out in a moment, or what comes next is not known
    newest = max(
        facts.last_delivery, facts.last_request, facts.next_stored, facts.paused_until, facts.not_before
    )
    if now_ns - newest < RECENT_NS:
        return None
    return Reason(
        "unexplained",
        BLOCKS,
        f"{messages(facts.num_pending, 'is', 'are')} to be delivered, somebody takes them, and for "
        f"{span(now_ns - newest)} none went out. This should not be.",
        "Look again. If it stays so, please report it with this answer and the broker's log.",
        {"next_sequence": facts.next_sequence, "since": format_time(newest)},
    )


def _flows(facts: ConsumerFacts, now_ns: int) -> Reason:
    text = "Messages flow: the last delivery was " + ago(facts.last_delivery, now_ns)
    text += f", the last acknowledgement {ago(facts.last_ack, now_ns)}."
    if not facts.last_delivery:
        text = "Nothing holds messages back: the first is about to be delivered."
    return Reason("flows", NOTE, text)


def _figures(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> dict[str, object]:
    """What everybody wants to see, whatever the reasons are. Times are RFC 3339, None for never."""
    return {
        "now": format_time(now_ns),
        "kind": "pull" if config.is_pull else "push",
        "ack_policy": config.ack_policy,
        "num_pending": facts.num_pending,
        "num_redelivery_due": facts.redelivery_due,
        "num_ack_pending": facts.ack_pending,
        "max_ack_pending": config.max_ack_pending,
        "num_redelivered": facts.redelivered,
        "num_exhausted": facts.exhausted,
        "num_waiting": facts.waiting,
        "max_waiting": config.max_waiting,
        "push_bound": facts.is_bound,
        "next_sequence": facts.next_sequence,
        "delivered": {"consumer_seq": facts.delivered_consumer, "stream_seq": facts.delivered_stream},
        "ack_floor": {"consumer_seq": facts.floor_consumer, "stream_seq": facts.floor_stream},
        "last_delivery": _time(facts.last_delivery),
        "last_ack": _time(facts.last_ack),
        "last_request": _time(facts.last_request),
        "stream_messages": facts.stream_messages,
        "stream_first_sequence": facts.stream_first,
        "stream_last_sequence": facts.stream_last,
    }


def _time(ns: int) -> str | None:
    return format_time(ns) if ns else None
