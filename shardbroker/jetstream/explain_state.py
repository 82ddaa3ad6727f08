"""Reasons that lie in a consumer itself: where it stands, its filter, what is not acknowledged.

What these functions are, and what the severities mean: explain_facts.py.
"""

from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.explain_facts import (
    BLOCKS,
    LIMITS,
    NOTE,
    ConsumerFacts,
    Finding,
    Reason,
    ago,
    at,
    listed,
    messages,
    times,
)
from shardbroker.jetstream.go_time import ZERO_TIME_TEXT, format_time, parse_time
from shardbroker.jetstream.source_checks import collide

# --- the consumer itself --------------------------------------------------------------------------------


def _paused(_config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if facts.paused_until <= now_ns:
        return None
    return Reason(
        "paused",
        BLOCKS,
        f"The consumer is paused; it goes on {at(facts.paused_until, now_ns)}.",
        f"Wait, or resume it: nats consumer resume {facts.stream} {facts.consumer}",
        {"paused_until": format_time(facts.paused_until), "remaining": facts.paused_until - now_ns},
    )


def _counting(_config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if facts.is_counted and not facts.is_held:
        return None
    text = f"The messages for it are being counted, {facts.num_pending} so far; delivery begins then."
    if facts.is_held:
        text = "The consumer was just made and is not on the disk yet; delivery begins then."
    return Reason("counting", LIMITS, text, "Wait a moment and look again.", {"counted": facts.num_pending})


def _start_ahead(_config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    skipped = facts.position - facts.stream_last - 1
    if skipped <= 0:
        return None
    return Reason(
        "start_sequence_ahead",
        BLOCKS,
        f"It goes on with stream sequence {facts.position}, and the stream has come to {facts.stream_last}: "
        f"{'the next message is' if skipped == 1 else f'the next {skipped} messages are'} passed over.",
        "Wait until the stream has come that far, or start it earlier: make it anew, or reset it "
        f"($JS.API.CONSUMER.RESET.{facts.stream}.{facts.consumer}).",
        {"next_sequence": facts.position, "stream_last_sequence": facts.stream_last, "passed_over": skipped},
    )


def _start_time_ahead(config: ConsumerConfig, _facts: ConsumerFacts, now_ns: int) -> Reason | None:
    text = config.opt_start_time
    start = parse_time(text) if text not in (None, ZERO_TIME_TEXT) else 0
    if start <= now_ns:
        return None
    return Reason(
        "start_time_ahead",
        NOTE,
        f"Its start time is still to come, {at(start, now_ns)}. It begins with the first message stored "
        "after it was made, also if that is earlier.",
        "",
        {"opt_start_time": format_time(start)},
    )


def _filter_outside(config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    filters = config.filters()
    if not filters or not facts.stream_subjects:
        return None
    if any(collide(one, other) for one in filters for other in facts.stream_subjects):
        return None
    return Reason(
        "filter_outside_stream",
        BLOCKS,
        f"Its filter ({listed(filters)}) and the subjects of the stream ({listed(facts.stream_subjects)}) "
        "have nothing in common: no message will ever match.",
        "Correct the filter of the consumer, or the subjects of the stream.",
        {"filters": filters, "stream_subjects": facts.stream_subjects},
    )


def _filter_matches_nothing(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    filters = config.filters()
    if not filters or not facts.stream_messages or facts.has_matching is not False:
        return None
    if _filter_outside(config, facts, now_ns) is not None:
        return None
    never = facts.delivered_consumer == 0
    more = facts.stream_subjects_count - len(facts.subjects)
    shown = listed(facts.subjects) + (f" and {more} more" if more > 0 else "")
    return Reason(
        "filter_matches_nothing",
        BLOCKS if never else NOTE,
        f"None of the {messages(facts.stream_messages)} in the stream matches its filter "
        f"({listed(filters)}). Subjects there: {shown}.",
        "Compare the filter with these subjects, or publish on one that it matches.",
        {"filters": filters, "subjects": facts.subjects, "num_subjects": facts.stream_subjects_count},
    )


# --- acknowledgements and redelivery --------------------------------------------------------------------


def _ack_pending_full(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    most = config.max_ack_pending
    if most <= 0 or config.ack_policy == "none" or facts.ack_pending < most:
        return None
    text = (
        f"{messages(facts.ack_pending, 'was', 'were')} delivered and not acknowledged, as many as "
        f"max_ack_pending allows ({most}): no new ones go out. The oldest is stream sequence "
        f"{facts.oldest_sequence}, delivered {ago(facts.oldest_delivered, now_ns)}."
    )
    if facts.due_at:
        text += f" The first ack wait ends {at(facts.due_at, now_ns)}, with sequence {facts.due_sequence}."
    return Reason(
        "max_ack_pending",
        BLOCKS if facts.num_pending else NOTE,
        text,
        "Look why the client does not acknowledge: too slow, stuck, or it forgets to. With more clients at "
        "work, or for large batches, raise max_ack_pending.",
        {
            "max_ack_pending": most,
            "num_ack_pending": facts.ack_pending,
            "oldest_sequence": facts.oldest_sequence,
            "oldest_delivered": format_time(facts.oldest_delivered),
            "oldest_deliveries": facts.oldest_deliveries,
            **_due(facts),
        },
    )


def _due(facts: ConsumerFacts) -> dict[str, object]:
    if not facts.due_at:
        return {}
    return {
        "due_sequence": facts.due_sequence,
        "due_deliveries": facts.due_deliveries,
        "due_at": format_time(facts.due_at),
    }


def _backoff(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if not config.backoff or facts.due_at <= now_ns:
        return None
    return Reason(
        "backoff",
        NOTE if facts.has_next else LIMITS,
        f"{messages(facts.ack_pending, 'waits', 'wait')} for an acknowledgement or for the next step of "
        f"backoff. The first, stream sequence {facts.due_sequence}, was delivered "
        f"{times(facts.due_deliveries)} and comes again {at(facts.due_at, now_ns)}.",
        "Wait, or shorten backoff.",
        {"backoff": list(config.backoff), "num_ack_pending": facts.ack_pending, **_due(facts)},
    )


def _awaiting_acks(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if facts.has_next or config.backoff or not facts.ack_pending or facts.due_at <= now_ns:
        return None
    return Reason(
        "awaiting_acks",
        NOTE,
        f"Everything was delivered; {messages(facts.ack_pending, 'is', 'are')} not acknowledged. The first, "
        f"stream sequence {facts.due_sequence}, comes again {at(facts.due_at, now_ns)}.",
        "",
        {"num_ack_pending": facts.ack_pending, **_due(facts)},
    )


def _exhausted(config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if not facts.exhausted:
        return None
    is_all = not facts.has_next and not facts.ack_pending
    head = "All that is left" if is_all else "Some messages"
    return Reason(
        "max_deliver",
        BLOCKS if is_all else NOTE,
        f"{head} ({messages(facts.exhausted)}, the first is stream sequence {facts.exhausted_first}) reached "
        f"max_deliver ({config.max_deliver}) without an acknowledgement and will not be delivered again.",
        "They stay in the stream. Look at them by their sequences (nats stream get "
        f"{facts.stream} {facts.exhausted_first}), repair what fails, and publish them again or reset the "
        "consumer to them.",
        {
            "max_deliver": config.max_deliver,
            "exhausted": facts.exhausted,
            "first_exhausted": facts.exhausted_first,
        },
    )


def _dead_letters(config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    subject = config.dead_letter_subject
    if not facts.dead or not subject:
        return None
    wait = "waits" if facts.dead == 1 else "wait"
    return Reason(
        "dead_letters",
        NOTE,
        f"{messages(facts.dead)} that died {wait} until a stream has taken what is sent to {subject}.",
        f"If that lasts, no stream takes {subject}, or it refuses them; the broker's log says why. "
        f"nats stream add DEAD --subjects '{subject}'",
        {"dead_letters_waiting": facts.dead, "dead_letter_subject": subject},
    )


# --- nothing to do, and what one should know ------------------------------------------------------------


def _stream_empty(_config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if facts.stream_messages or facts.position > facts.stream_last + 1:
        return None
    text = "The stream is empty."
    if facts.stream_last:
        text = f"The stream is empty: all up to sequence {facts.stream_last} are gone."
    return Reason("stream_empty", NOTE, text, "", {"stream_last_sequence": facts.stream_last})


def _all_delivered(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if facts.has_next or not facts.is_counted or not facts.stream_messages or facts.has_matching is False:
        return None
    if facts.ack_pending or facts.exhausted or facts.dead or facts.position > facts.stream_last + 1:
        return None
    text = f"Everything that matches was delivered, the last {ago(facts.last_delivery, now_ns)}"
    text += "." if config.ack_policy == "none" else ", and acknowledged."
    if not facts.delivered_consumer:
        text = f"Nothing that it is to deliver is there (deliver policy {config.deliver_policy})."
    return Reason("all_delivered", NOTE, text, "", {"delivered_stream_sequence": facts.delivered_stream})


def _headers_only(config: ConsumerConfig, _facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if not config.headers_only:
        return None
    return Reason("headers_only", NOTE, "Only headers are delivered, payloads are left out (headers_only).")


STATE_FINDINGS: tuple[Finding, ...] = (
    _paused,
    _counting,
    _ack_pending_full,
    _exhausted,
    _dead_letters,
    _start_ahead,
    _filter_outside,
    _filter_matches_nothing,
    _backoff,
    _awaiting_acks,
    _stream_empty,
    _all_delivered,
    _start_time_ahead,
    _headers_only,
)
