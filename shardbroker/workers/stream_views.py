"""What answers show of a stream: StreamInfo and StreamState, from the log table or from the stream itself."""

import time
from itertools import chain, islice
from typing import TYPE_CHECKING

from shardbroker.jetstream import api_types
from shardbroker.jetstream.config_metadata import COMPRESSION_KEY
from shardbroker.version import NATS_VERSION

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

#: Lost sequences in one answer.
_LOST_SHOWN = 10_000


def state_of(
    js: "JetStream",
    entry: "StreamEntry",
    *,
    subjects: dict[str, int] | None = None,
    deleted: list[int] | None = None,
) -> dict:
    """The state of a stream, also of one that another worker owns."""
    if entry.hosted is not None:
        js.host.write_figures(entry.hosted)
    figures = js.figures(entry.row)
    lost = None
    if entry.hosted is not None and entry.hosted.details.lost:
        ranges = (range(first, last + 1) for first, last, _reason in entry.hosted.details.lost if first)
        lost = (list(islice(chain.from_iterable(ranges), _LOST_SHOWN)), 0)
    return api_types.stream_state(
        messages=figures["messages"],
        size=figures["bytes"],
        first_seq=figures["first_sequence"],
        first_time=figures["first_time_ns"] or None,
        last_seq=figures["last_sequence"],
        last_time=figures["last_time_ns"] or None,
        consumers=figures["consumers"],
        subjects_count=figures["subjects"],
        subjects=subjects,
        deleted_count=figures["deleted"],
        deleted=deleted,
        lost=lost,
    )


def info_of(
    js: "JetStream",
    entry: "StreamEntry",
    *,
    leader: str = "",
    with_version: bool = False,
    subjects: dict[str, int] | None = None,
    deleted: list[int] | None = None,
    flows: dict | None = None,
) -> dict:
    """A StreamInfo. ``with_version``: the metadata says who answers (CREATE, UPDATE and INFO do).

    ``flows``: of another worker's stream, how its mirror and sources get on (flow_infos.py).
    """
    if entry.hosted is not None:
        details = entry.hosted.details
        flows = {"mirror": details.mirror_info(), "sources": details.source_infos()}
    config = entry.config.to_json_dict(NATS_VERSION if with_version else None)
    if with_version and entry.config.compression != "none":
        config["metadata"] = {**config["metadata"], COMPRESSION_KEY: "accepted, stored uncompressed"}
    return api_types.stream_info(
        config=config,
        created=entry.created,
        state=state_of(js, entry, subjects=subjects, deleted=deleted),
        now=time.time_ns(),
        leader=leader,
        mirror=flows["mirror"] if flows is not None else None,
        sources=flows["sources"] if flows is not None else (),
    )
