"""Reasons that lie in what clients do: pull requests, the interest in a deliver subject, flow control.

What these functions are, and what the severities mean: explain_facts.py.
"""

from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.explain_facts import (
    BLOCKS,
    LIMITS,
    NOTE,
    RECENT_NS,
    ConsumerFacts,
    Finding,
    Reason,
    ago,
    at,
    if_next,
    messages,
)
from shardbroker.jetstream.go_time import format_time

# --- pull -----------------------------------------------------------------------------------------------


def _no_requests(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if not config.is_pull or facts.waiting:
        return None
    last = max(facts.last_request, facts.last_delivery)
    recent = last and now_ns - last < RECENT_NS
    text = "No pull request waits, and none has come since its worker has run this consumer."
    if facts.last_request:
        text = f"No pull request waits; the last of {facts.requests} came {ago(facts.last_request, now_ns)}."
    if facts.ack_pending:
        text += f" The client may be busy: {messages(facts.ack_pending, 'is', 'are')} not acknowledged."
    return Reason(
        "no_pull_requests",
        if_next(LIMITS if recent else BLOCKS, facts),
        text,
        "A pull consumer sends only to who asks: look whether the client runs, and fetches from this one.",
        {
            "requests": facts.requests,
            "last_request": format_time(facts.last_request) if facts.last_request else None,
        },
    )


def _refused(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if not facts.last_refusal:
        return None
    alone = config.is_pull and not facts.waiting
    return Reason(
        "request_refused",
        if_next(BLOCKS, facts) if alone else NOTE,
        f"The last pull request came {ago(facts.last_request, now_ns)} and was refused: "
        f"{facts.last_refusal}.",
        "Have the client ask as the consumer's configuration allows, or change that.",
        {"status": facts.last_refusal, "last_request": format_time(facts.last_request)},
    )


def _waiting_full(config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if not config.is_pull or not 0 < config.max_waiting <= facts.waiting:
        return None
    return Reason(
        "max_waiting",
        LIMITS,
        f"{facts.waiting} pull requests wait, as many as max_waiting allows: further ones are refused (409).",
        "Have clients ask less often for larger batches. A larger max_waiting needs a new consumer.",
        {"max_waiting": config.max_waiting, "num_waiting": facts.waiting},
    )


def _bytes_too_few(config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if not config.is_pull or not facts.has_next or not facts.charged_size:
        return None
    known = {"next_sequence": facts.next_sequence, "size": facts.charged_size}
    head = f"The next message, stream sequence {facts.next_sequence}, has {facts.charged_size} bytes"
    if 0 < config.max_bytes < facts.charged_size:
        return Reason(
            "max_bytes",
            BLOCKS,
            f"{head}, and the consumer's max_bytes lets no request ask for more than {config.max_bytes}.",
            "Raise max_bytes of the consumer, or delete that message.",
            {**known, "max_bytes": config.max_bytes},
        )
    if facts.waiting_able or not (facts.waiting_too_small or (facts.was_too_large and not facts.waiting)):
        return None
    return Reason(
        "max_bytes",
        BLOCKS,
        f"{head}, more than the max_bytes of the requests that come: they end with 409 Message Size Exceeds "
        "MaxBytes.",
        "Have the client ask with a larger max_bytes.",
        known,
    )


def _pinned(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if config.priority_policy != "pinned_client" or not facts.pinned_id:
        return None
    others = facts.waiting - facts.waiting_of_pinned
    is_held = others > 0 and facts.waiting_of_pinned == 0
    text = f"Client {facts.pinned_id} is pinned since {format_time(facts.pinned_since)}"
    if is_held:
        text += (
            f" and has no request waiting; {others} requests of others must wait until it loses the pin "
            f"{at(facts.pin_expires, now_ns)}."
        )
    else:
        text += f"; {facts.waiting_of_pinned} of its requests wait, and {others} of others stand by."
    return Reason(
        "pinned_client",
        if_next(BLOCKS, facts) if is_held else NOTE,
        text,
        f"Wait for priority_timeout, or unpin it: nats consumer unpin {facts.stream} {facts.consumer}"
        if is_held
        else "",
        {
            "pinned_client_id": facts.pinned_id,
            "pinned_since": format_time(facts.pinned_since),
            "pin_expires": format_time(facts.pin_expires),
            "waiting_of_pinned": facts.waiting_of_pinned,
            "waiting_of_others": others,
        },
    )


def _overflow(config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if config.priority_policy != "overflow" or not facts.waiting or facts.waiting_held < facts.waiting:
        return None
    asked = []
    if facts.waiting_min_pending:
        asked.append(f"{facts.waiting_min_pending} messages to be there (there are {facts.num_pending})")
    if facts.waiting_min_ack_pending:
        asked.append(
            f"{facts.waiting_min_ack_pending} not to be acknowledged (there are {facts.ack_pending})"
        )
    return Reason(
        "overflow_threshold",
        if_next(BLOCKS, facts),
        f"All {facts.waiting} requests that wait are for an overflow: they ask for "
        f"{', or for '.join(asked)}.",
        "That is as asked, if another client without these limits is at work: look why it does not ask.",
        {
            "num_waiting": facts.waiting,
            "min_pending": facts.waiting_min_pending,
            "num_pending": facts.num_pending,
            "min_ack_pending": facts.waiting_min_ack_pending,
            "num_ack_pending": facts.ack_pending,
        },
    )


# --- push -----------------------------------------------------------------------------------------------


def _no_interest(config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if config.is_pull or facts.is_bound:
        return None
    group = f" in the queue group {config.deliver_group}" if config.deliver_group else ""
    text = f"Nobody subscribes to its deliver subject {config.deliver_subject}{group}."
    if facts.others_listen:
        text += " Others do, outside of that group: they count for nothing."
    return Reason(
        "no_interest",
        BLOCKS,
        text,
        "Look whether the client runs, in this account, and subscribes to exactly this"
        + (" in that group." if group else "."),
        {
            "deliver_subject": config.deliver_subject,
            "deliver_group": config.deliver_group,
            "others_listen": facts.others_listen,
        },
    )


def _flow_stalled(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if config.is_pull or not facts.is_stalled:
        return None
    return Reason(
        "flow_control",
        if_next(BLOCKS, facts),
        f"{facts.flow_outstanding} bytes were sent and not answered for, more than the window of "
        f"{facts.flow_window}: it waits for the answer to its flow control request {facts.flow_request}. The "
        f"last message went out {ago(facts.last_delivery, now_ns)}.",
        "The client has to publish an empty message to the reply subject of that request. Clients that use "
        "JetStream's own subscribe do so when they have read that far: look whether this one reads.",
        {
            "outstanding": facts.flow_outstanding,
            "window": facts.flow_window,
            "request": facts.flow_request,
        },
    )


def _rate_limit(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if not config.rate_limit_bps or not facts.has_next or facts.not_before <= now_ns:
        return None
    return Reason(
        "rate_limit",
        LIMITS,
        f"rate_limit_bps allows {config.rate_limit_bps} bits a second: the next message goes out "
        f"{at(facts.not_before, now_ns)}.",
        "Raise rate_limit_bps, or take it away.",
        {"rate_limit_bps": config.rate_limit_bps, "not_before": format_time(facts.not_before)},
    )


def _replay(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if config.replay_policy != "original" or config.is_pull or config.rate_limit_bps:
        return None
    if not facts.has_next or facts.not_before <= now_ns:
        return None
    return Reason(
        "replay_original",
        LIMITS,
        "Messages come with the gaps that they were stored with (replay policy original): the next one goes "
        f"out {at(facts.not_before, now_ns)}.",
        "Wait, or make a consumer with replay policy instant.",
        {"not_before": format_time(facts.not_before), "next_sequence": facts.next_sequence},
    )


def _receiver_slow(config: ConsumerConfig, facts: ConsumerFacts, _now_ns: int) -> Reason | None:
    if config.is_pull or not facts.is_pressed or not facts.has_next:
        return None
    return Reason(
        "receiver_slow",
        LIMITS,
        "A client that consumers of this worker send to reads slower than messages come: they all wait.",
        "Find it by its waiting output: /connz?sort=pending",
    )


def _ends_unused(config: ConsumerConfig, facts: ConsumerFacts, now_ns: int) -> Reason | None:
    if not config.inactive_threshold or facts.waiting or facts.is_bound or facts.dead:
        return None
    end = facts.active + config.inactive_threshold
    return Reason(
        "inactive_threshold",
        NOTE,
        f"Nobody uses it now: it will be deleted {at(end, now_ns)} (inactive_threshold).",
        "Use it before, or raise inactive_threshold.",
        {"inactive_threshold": config.inactive_threshold, "deleted_at": format_time(end)},
    )


CLIENT_FINDINGS: tuple[Finding, ...] = (
    _no_interest,
    _refused,
    _no_requests,
    _flow_stalled,
    _pinned,
    _overflow,
    _bytes_too_few,
    _rate_limit,
    _replay,
    _receiver_slow,
    _waiting_full,
    _ends_unused,
)
