"""API calls about an account: INFO, STREAM.NAMES, STREAM.LIST.

They are answered from the catalog and the log table, after the acceptor has said that nothing newer is on its
way (`sync`): a stream whose creation was answered is in every list that is asked for afterwards.
"""

from typing import TYPE_CHECKING

from shardbroker.jetstream import api_requests, api_types, js_limits
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.source_checks import collide
from shardbroker.workers.stream_views import info_of

if TYPE_CHECKING:
    from shardbroker.workers.stream_api import Request
    from shardbroker.workers.stream_opening import StreamEntry


def account_info(request: "Request") -> None:
    """INFO: what the account uses and may use."""
    request.api.js.ask("sync", {}, request.later(lambda _body, _fds: _account_info(request)))


def _account_info(request: "Request") -> None:
    js = request.api.js
    used = {"memory": 0, "file": 0}
    reserved = {"memory": 0, "file": 0}
    consumers = 0
    entries = js.account(request.account_name).values()
    for entry in entries:
        figures = js.figures(entry.row)
        used[entry.config.storage] += figures["bytes"]
        reserved[entry.config.storage] += max(entry.config.max_bytes, 0)
        consumers += figures["consumers"]
    requests, errors = js.api_totals()
    request.answer(
        api_types.account_info(
            memory=used["memory"],
            storage=used["file"],
            reserved_memory=reserved["memory"],
            reserved_storage=reserved["file"],
            streams=len(entries),
            consumers=consumers,
            limits=JetStreamLimits(),
            requests=requests,
            errors=errors,
        )
    )


def stream_names(request: "Request") -> None:
    """STREAM.NAMES: sorted, those that overlap with a subject if one is given."""
    wish = api_requests.read_names(request.payload)

    def told(_body: dict, _fds: list[int]) -> None:
        names = [entry.name for entry in _matching(request, wish.subject)]
        request.answer(api_types.names_page("STREAM.NAMES", names, wish.offset))

    request.api.js.ask("sync", {}, request.later(told))


def stream_list(request: "Request") -> None:
    """STREAM.LIST: the infos of a page of streams."""
    wish = api_requests.read_list(request.payload)
    js = request.api.js

    def told(_body: dict, _fds: list[int]) -> None:
        entries = _matching(request, wish.subject)
        page = entries[wish.offset : wish.offset + js_limits.list_page_size]
        js.flows.ask(page, request.later(lambda flows: show(entries, page, flows)))

    def show(entries: "list[StreamEntry]", page: "list[StreamEntry]", flows: dict[str, dict]) -> None:
        offline = {entry.name: entry.damaged for entry in entries if entry.damaged}
        infos = [info_of(js, entry, flows=flows.get(entry.name)) for entry in page if not entry.damaged]
        request.answer(
            api_types.list_page("STREAM.LIST", infos, total=len(entries), offset=wish.offset, offline=offline)
        )

    js.ask("sync", {}, request.later(told))


def _matching(request: "Request", subject: str) -> "list[StreamEntry]":
    entries = request.api.js.account(request.account_name)
    return [
        entries[name]
        for name in sorted(entries)
        if not subject or any(collide(subject, one) for one in entries[name].config.subjects or ())
    ]


CALLS = {"INFO": account_info, "STREAM.NAMES": stream_names, "STREAM.LIST": stream_list}
