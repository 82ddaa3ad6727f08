"""Property: a stream whose last segment cannot be read counts what it lost, gives none of those sequences
again, and goes on in a file that can be written.

A folder takes the place of the segment, the writer is the real one.
"""

import os

from shardbroker.workers import stream_opening
from tests.simulation.world import NOW_NS, config_of
from tests.storage.log_files import LOG_ID, LogBuilder
from tests.streamwriter.lane_feed import STORED, Bench, Log

RESERVED = 1000


def opened(bench: Bench):
    entry = stream_opening.StreamEntry("$G", "S", config_of(1), LOG_ID, 5, 0, 0, 1, RESERVED)
    return stream_opening.open_stored(entry, bench.store.path, 2, NOW_NS, False, lambda _size: None)


def test_what_a_folder_has_replaced_is_counted_and_the_stream_goes_on(tmp_path):
    bench = Bench(tmp_path)
    bench.store.create_log(LOG_ID, b"{}")
    builder = LogBuilder(tmp_path)
    for _ in range(30):
        builder.durable = builder.index - 1
        builder.messages([500, 500])
    for base, path in builder.finish():
        os.rename(path, f"{bench.store.log_path(LOG_ID)}/{base:016x}.seg")
    gone = {record.sequence for p in builder.placed if p.segment == 1 for record, _ in p.records}
    assert len(builder.files) == 3
    for number in (1, 2):
        path = f"{bench.store.log_path(LOG_ID)}/{builder.files[number][0]:016x}.seg"
        os.unlink(path)
        os.mkdir(path)
        stream = opened(bench)
        if number == 1:  # what follows says which ones they were
            assert stream.hosted.stream.state.lost == len(gone)
    # What followed is gone as well, and nobody knows up to where.
    first = min(gone)
    state = stream.hosted.stream.state
    assert [loss[:2] for loss in stream.losses] == [(first, RESERVED)]
    assert (len(state.messages), state.lost) == (first - 1, RESERVED - first + 1)
    assert stream.hosted.stream.last_sequence == RESERVED
    log = stream.hosted.stream.log
    more = Log(bench.lane, LOG_ID, 5, term=2, index=log.index, position=log.position, segment=log.position,
               previous=log.previous_crc)  # fmt: skip
    place = more.append(b"goes on")
    bench.run()
    assert bench.lane.status(place) == STORED
    again = opened(bench)
    assert again.hosted.stream.log.index == log.index + 1
