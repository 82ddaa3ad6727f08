"""API calls about consumers, but for pull requests, which the consumer answers. Spec pages 02, 04, 05."""

import os
import time
from typing import TYPE_CHECKING

from shardbroker.jetstream import api_errors, api_requests, api_types, consumer_types, consumer_updates
from shardbroker.jetstream.ack_tokens import account_hash
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.consumer_checks import check_create
from shardbroker.jetstream.consumer_requests import read_create, read_page, read_pause, read_reset, read_unpin
from shardbroker.jetstream.go_time import format_time
from shardbroker.jetstream.header_block import get as header
from shardbroker.jetstream.js_limits import JetStreamLimits, list_page_size
from shardbroker.workers import consumer_views
from shardbroker.workers.random_names import random_name

if TYPE_CHECKING:
    from shardbroker.workers.stream_api import Request
    from shardbroker.workers.stream_consumers import StreamConsumers

_FRESH_NAME_SIZE = 8


class _Interest:
    """Who subscribes in the account of a request."""

    def __init__(self, request: "Request"):
        self._request = request

    def has_interest(self, subject: str) -> bool:
        return self._request.api.js.host.has_interest(self._request.account, subject.encode())


def create(request: "Request") -> None:
    """CONSUMER.CREATE and CONSUMER.DURABLE.CREATE."""
    wish = read_create(request.kind, request.tokens, request.payload)
    entry = request.entry()
    js = request.api.js

    def checked(_errno: int) -> None:
        consumers = entry.hosted.details.consumers
        found = check_create(
            wish.config,
            entry.config,
            JetStreamLimits(),
            consumers.index,
            _Interest(request),
            action=wish.action,
            pedantic=wish.pedantic,
            fresh_name=_fresh_name(consumers),
            identity=account_hash(format_time(entry.created)),
            expected_identity=_text(header(request.block, b"Nats-Stream-Identity") if request.block else b""),
        )

        made = []

        def stored(errno: int) -> None:
            if errno:
                if made and consumers.by_name.get(found.name) is made[0]:
                    consumers.end(found.name, lambda _errno: None)
                raise api_errors.CONSUMER_STORE_FAILED(err=os.strerror(errno).lower())
            request.answer(consumer_types.create_answer(info_of(request, found.name, with_version=True)))
            if found.old is None:
                _tell(request, consumer_types.created(entry.name, found.name))
            if found.old is None and found.config.pause_until is not None:
                until = consumers.by_name[found.name].consumer.paused_until_ns
                _tell(request, consumer_types.paused(entry.name, found.name, until, time.time_ns()))

        if found.is_same:
            stored(0)
        elif found.old is not None:
            consumers.change(found.name, found.config, request.later(stored))
        else:
            made.append(consumers.make(found.name, found.config, request.later(stored)))

    js.host.when_applied(entry.hosted, request.later(checked))


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _fresh_name(consumers: "StreamConsumers") -> str:
    while True:
        name = random_name(_FRESH_NAME_SIZE)
        if name not in consumers.by_name:
            return name


def _tell(request: "Request", event) -> None:
    request.api.js.advise(event.subject, event.type, event.fields, request.account)


def info_of(request: "Request", name: str, *, with_version: bool) -> dict:
    """A ConsumerInfo."""
    entry = request.entry()
    one = entry.hosted.details.consumers.by_name.get(name)
    if one is None:
        raise api_errors.CONSUMER_NOT_FOUND.fresh()
    return consumer_views.info_of(request.api.js, entry.name, one, with_version=with_version)


def names(request: "Request") -> None:
    """CONSUMER.NAMES."""
    wish = read_page(request.payload)
    consumers = request.entry().hosted.details.consumers
    request.answer(api_types.names_page("CONSUMER.NAMES", sorted(consumers.by_name), wish.offset))


def listing(request: "Request") -> None:
    """CONSUMER.LIST."""
    wish = read_page(request.payload)
    entry = request.entry()
    js = request.api.js

    def answer(_errno: int) -> None:
        found = sorted(entry.hosted.details.consumers.by_name)
        page = found[wish.offset : wish.offset + list_page_size]
        infos = [info_of(request, name, with_version=False) for name in page]
        request.answer(api_types.list_page("CONSUMER.LIST", infos, total=len(found), offset=wish.offset))

    js.host.when_applied(entry.hosted, request.later(answer))


def info(request: "Request") -> None:
    """CONSUMER.INFO, after everything that the stream has accepted before."""
    api_requests.require_empty(request.payload)
    entry = request.entry()

    def answer(_errno: int) -> None:
        shown = info_of(request, request.tokens[1], with_version=True)
        request.answer(consumer_types.info_answer(shown))

    request.api.js.host.when_applied(entry.hosted, request.later(answer))


def _consumers_with(request: "Request") -> "StreamConsumers":
    """The stream's consumers, the named one among them. Raises 10059 and 10014."""
    consumers = request.entry().hosted.details.consumers
    if request.tokens[1] not in consumers.by_name:
        raise api_errors.CONSUMER_NOT_FOUND.fresh()
    return consumers


def delete(request: "Request") -> None:
    """CONSUMER.DELETE."""
    api_requests.require_empty(request.payload)
    consumers = _consumers_with(request)

    def ended(errno: int) -> None:
        if errno:
            raise _store_failed(errno)
        request.answer(api_types.success("CONSUMER.DELETE"))
        _tell(request, consumer_types.deleted(request.stream, request.tokens[1]))

    consumers.end(request.tokens[1], request.later(ended))


def _store_failed(errno: int) -> ApiError:
    return api_errors.CONSUMER_STORE_FAILED(err=os.strerror(errno).lower())


def pause(request: "Request") -> None:
    """CONSUMER.PAUSE, or resume."""
    until = read_pause(request.payload)
    consumers = _consumers_with(request)
    one = consumers.by_name[request.tokens[1]]
    now = time.time_ns()
    config = one.consumer.config.copy()
    consumer_updates.set_pause(config, until)
    is_paused = until is not None and until > now
    one.consumer.pause(until if is_paused else 0)

    def stored(errno: int) -> None:
        if errno:
            raise _store_failed(errno)
        request.answer(consumer_types.pause_answer(until, now))
        _tell(request, consumer_types.paused(request.stream, one.name, until, now))

    consumers.change(one.name, config, request.later(stored))


def unpin(request: "Request") -> None:
    """CONSUMER.UNPIN."""
    group = read_unpin(request.payload)
    consumers = _consumers_with(request)
    one = consumers.by_name[request.tokens[1]]
    if group not in (one.consumer.config.priority_groups or ()):
        raise api_errors.CONSUMER_INVALID_PRIORITY_GROUP.fresh()
    one.pulls.unpin(consumer_types.UNPINNED_BY_ADMIN, always=True)
    request.api.js.consumers.wake(one)
    request.answer(consumer_types.unpin_answer())


def reset(request: "Request") -> None:
    """CONSUMER.RESET: go on with a sequence, or behind the ack floor."""
    sequence = read_reset(request.payload)
    if request.stream not in request.api.js.account(request.account_name):
        return
    consumers = request.entry().hosted.details.consumers
    one = consumers.by_name.get(request.tokens[1])
    if one is None:
        return  # nats-server's consumers listen for it themselves: where there is none, nobody answers
    config = one.consumer.config
    if sequence and config.deliver_policy not in ("all", "by_start_sequence", "by_start_time"):
        raise api_errors.CONSUMER_INVALID_RESET(err="not allowed")
    if sequence and config.deliver_policy == "by_start_sequence" and sequence < config.opt_start_seq:
        raise api_errors.CONSUMER_INVALID_RESET(err="below start seq")
    sequence = sequence or one.consumer.floor_stream + 1
    one.consumer.reset(sequence)
    one.delivered_ns = one.acked_ns = 0

    def stored(errno: int) -> None:
        if errno:
            raise _store_failed(errno)
        shown = info_of(request, one.name, with_version=True)
        request.answer(consumer_types.reset_answer(shown, sequence))

    consumers.change(one.name, config, request.later(stored))


CALLS = {
    "CONSUMER.NAMES": names,
    "CONSUMER.LIST": listing,
    "CONSUMER.INFO": info,
    "CONSUMER.DELETE": delete,
    "CONSUMER.PAUSE": pause,
    "CONSUMER.UNPIN": unpin,
    "CONSUMER.RESET": reset,
    "CONSUMER.CREATE": create,
    "CONSUMER.DURABLE.CREATE": create,
}
