"""Property: whatever happens to the files of a log, a scan gives no wrong bytes, loses at most what was hit,
tells every loss, never lets a sequence be given again, and comes to an end.

Cases, by what is done to the files (the letters are in the names of the tests):

    whole       nothing; all kinds of frames; batches; a log whose head was dropped
    leftover    frames of another log, of an older term or of a cut tail behind the end
    tail        the last frames torn, with and without a later frame that knows them durable
    truncated   the last segment cut at any byte; a middle segment cut
    flipped     one bit anywhere, in heads, records, padding, segment heads; frames durable or not
    zeroed      a sector of 512 bytes
    files       a segment missing, doubled, exchanged with another, or not readable
    crafted     payloads that look like frames and records, noise: test_log_scan_crafted.py

SHARDBROKER_SCAN_FLIPS and SHARDBROKER_SCAN_CUTS set the number of random cases; the seed is printed.
"""

import os
import random
import shutil
from pathlib import Path

import pytest

from shardbroker.storage import codec
from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.log_scan import LogScan
from tests.storage.log_files import HEAD, LOG_ID, LogBuilder, check_invariants, flip, mixed_log, scan

FLIPS = int(os.environ.get("SHARDBROKER_SCAN_FLIPS", "400"))
CUTS = int(os.environ.get("SHARDBROKER_SCAN_CUTS", "500"))
ALL_DURABLE = 1 << 62


def first_not_durable(builder: LogBuilder) -> int:
    """The first sequence that the log itself does not know to be durable."""
    for placed in builder.placed:
        if placed.index > builder.durable and placed.records:
            return placed.records[0][0].sequence
    return ALL_DURABLE


def test_whole_log(tmp_path: Path) -> None:
    """Everything, in order, at its place, and where the log goes on."""
    builder = mixed_log(tmp_path)
    files = builder.finish()
    sink, result = scan(files)
    expected = [
        (placed.index, record, builder.files[placed.segment][0] + offset - 64)
        for placed in builder.placed
        for record, offset in placed.records
    ]
    assert [(index, record, position) for _kind, index, record, position in sink.records] == expected
    assert len(files) > 2
    assert [(kind, index) for kind, index, _body, _position in sink.frames] == [
        (placed.kind, placed.index) for placed in builder.placed if not placed.records
    ]
    assert (result.last_index, result.last_crc, result.last_sequence) == (
        builder.index - 1, builder.crc, builder.sequence - 1,
    )  # fmt: skip
    assert (result.end_position, result.segment_base) == (builder.base, files[-1][0])
    assert result.cut_bytes == 0 and result.lost == [] and result.notes == [] and result.leftover_paths == []
    assert not result.sequence_in_doubt


def test_empty_log(tmp_path: Path) -> None:
    """No segment; and a segment without frames."""
    _sink, result = scan([])
    assert (result.end_position, result.last_index, result.segment_base) == (0, 0, None)
    builder = LogBuilder(tmp_path)
    _sink, result = scan(builder.finish())
    assert (result.end_position, result.last_index, result.segment_base) == (0, 0, 0)


def test_log_whose_head_was_dropped(tmp_path: Path) -> None:
    """The chain begins with the first segment that is there."""
    builder = mixed_log(tmp_path)
    files = builder.finish()[2:]
    sink, result = scan(files)
    assert sink.records and sink.records[0][1] > 1
    assert result.last_index == builder.index - 1 and result.lost == [] and result.notes == []


@pytest.mark.parametrize("term", [1, 2])
def test_whole_batch_without_commit(tmp_path: Path, term: int) -> None:
    """It is not handed on, its sequences are not given again, and a new owner does not finish it."""
    builder = LogBuilder(tmp_path)
    builder.messages([1, 2])
    builder.messages([3, 4], codec.BATCH)
    if term == 2:
        builder.term = 2
        builder.messages([5], codec.BATCH_COMMIT)
    sink, result = scan(builder.finish())
    assert [record.sequence for _k, _i, record, _p in sink.records] == ([1, 2] if term == 1 else [1, 2, 5])
    assert result.last_index == builder.index - 1
    assert result.last_sequence == builder.sequence - 1
    assert "batch" in result.notes[0] and sink.lost == []


def test_a_batch_whose_end_was_cut_off_does_not_join_the_next_one(tmp_path: Path) -> None:
    """Its owner lives, and has begun another one with the same sequences."""
    builder = LogBuilder(tmp_path)
    builder.messages([1, 2])
    builder.messages([3, 4], codec.BATCH)
    builder.sequence = 3
    builder.messages([30], codec.BATCH)
    builder.messages([40], codec.BATCH_COMMIT)
    sink, result = scan(builder.finish())
    found = [(record.sequence, len(record.payload)) for _k, _i, record, _p in sink.records]
    assert found == [(1, 1), (2, 2), (3, 30), (4, 40)]
    assert "batch" in result.notes[0] and sink.lost == []


def test_leftover_of_another_log(tmp_path: Path) -> None:
    """A recycled file: frames of the log before lie behind the end."""
    other = LogBuilder(tmp_path / "other", log_id=LOG_ID + 1)
    (tmp_path / "other").mkdir()
    for _ in range(30):
        other.messages([100, 100])
    builder = LogBuilder(tmp_path)
    for _ in range(10):
        builder.messages([50, 50])
    [(_, path)] = builder.finish()
    old = Path(other.finish()[0][1]).read_bytes()
    new = Path(path).read_bytes()[: 64 + builder.base]
    Path(path).write_bytes(new + old[len(new) :])
    sink, result = scan(builder.files)
    assert len(sink.records) == 20 and result.end_position == builder.base
    assert result.lost == [] and result.cut_bytes == 0


@pytest.mark.parametrize("torn", [False, True])
def test_leftover_of_a_cut_tail(tmp_path: Path, torn: bool) -> None:
    """Frames of an older term behind those that were written over them are not taken up again."""
    builder = LogBuilder(tmp_path)
    for _ in range(10):
        builder.messages([50, 50])
    old = b"".join(builder.parts)
    again = LogBuilder(tmp_path)
    for _ in range(8):
        again.messages([50, 50])
    again.term = 2
    again.durable = 8
    again.messages([10, 10])
    [(_, path)] = again.finish()
    new = Path(path).read_bytes()[: 64 + again.base]
    if torn:
        new = new[:-60] + old[len(new) - 60 - 64 : len(new) - 64]
    Path(path).write_bytes(new + old[len(new) - 64 :] + bytes(8192))
    sink, result = scan(again.files)
    assert [record.sequence for _k, _i, record, _p in sink.records] == list(range(1, 17 if torn else 19))
    assert result.last_index == (8 if torn else 9) and sink.lost == []
    assert result.last_sequence >= 18


def test_leftover_of_a_failed_sync(tmp_path: Path) -> None:
    """Frames given up in one segment and written again, otherwise, into the next: the next one counts."""
    builder = LogBuilder(tmp_path)
    for _ in range(5):
        builder.messages([50, 50])
    index, crc, sequence, used = builder.index, builder.crc, builder.sequence, builder.used
    builder.messages([60])
    given_up = builder.parts.pop()
    builder.index, builder.crc, builder.sequence, builder.used = index, crc, sequence, used
    builder.roll()
    with open(builder.files[0][1], "r+b") as file:
        file.seek(64 + used)
        file.write(given_up)
    builder.messages([70, 70])
    sink, result = scan(builder.finish())
    assert [len(record.payload) for _k, _i, record, _p in sink.records] == [50] * 10 + [70, 70]
    assert result.last_index == 6 and sink.lost == [] and result.notes == []


def test_leftover_segment(tmp_path: Path) -> None:
    """A segment begun before a torn tail was cut does not hide what was written since."""
    builder = LogBuilder(tmp_path)
    for _ in range(5):
        builder.messages([50, 50])
    base = builder.base + builder.used
    builder.messages([60])
    files = builder.finish()
    stale = tmp_path / "stale"
    stale.write_bytes(codec.segment_head(LOG_ID, base, 6, 8192) + bytes(8192))
    sink, result = scan([*files, (base, str(stale))])
    assert [len(record.payload) for _k, _i, record, _p in sink.records] == [50] * 10 + [60]
    assert result.last_index == 6 and sink.lost == []
    assert result.leftover_paths == [str(stale)] and result.segment_base == 0


@pytest.mark.parametrize("known", [False, True])
def test_tail_torn_or_rotten(tmp_path: Path, known: bool) -> None:
    """The same damage: cut when nobody knew the frame durable, kept around when somebody did."""
    builder = LogBuilder(tmp_path)
    for _ in range(5):
        builder.messages([50, 50, 50])
    if known:
        builder.durable = 5
    builder.messages([50, 50, 50])
    files = builder.finish()
    _record, offset = builder.placed[4].records[1]
    flip(files[0][1], (offset + 60) * 8)
    sink, result = scan(files)
    sequences = [record.sequence for _k, _i, record, _p in sink.records]
    if known:
        assert sequences == [*range(1, 14), *range(15, 19)]
        assert [lost[:2] for lost in sink.lost] == [(14, 14)] and result.last_index == 6
        assert result.cut_bytes == 0
    else:
        assert sequences == list(range(1, 13))
        assert sink.lost == [] and result.last_index == 4
        assert result.cut_bytes == sum(placed.size for placed in builder.placed[4:])
    assert result.last_sequence == 18


def test_tail_lost_but_watermark_known(tmp_path: Path) -> None:
    """What the caller knows durable is told, and the log goes on in a new segment with a higher index."""
    builder = LogBuilder(tmp_path)
    for _ in range(5):
        builder.messages([50, 50])
    files = builder.finish()
    with open(files[0][1], "r+b") as file:
        file.truncate(builder.placed[3].offset + 10)
    sink, result = scan(files, known_durable=5)
    assert [record.sequence for _k, _i, record, _p in sink.records] == list(range(1, 7))
    assert [lost[:2] for lost in sink.lost] == [(7, 0)] and result.sequence_in_doubt
    assert result.last_index == 5
    assert result.end_position == result.segment_base + result.segment_capacity
    # The log goes on as the result says; the hole stays one, and stays told.
    more = LogBuilder(tmp_path)
    more.base, more.index, more.crc, more.sequence = (
        result.end_position,
        result.last_index + 1,
        result.last_crc,
        20,
    )
    more.first_index, more.first_crc, more.durable = more.index, more.crc, result.last_index
    more.messages([10, 10])
    sink, result = scan(files + more.finish())
    assert [record.sequence for _k, _i, record, _p in sink.records] == [*range(1, 7), 20, 21]
    assert [lost[:2] for lost in sink.lost] == [(7, 19)] and not result.sequence_in_doubt


def cut_points(builder: LogBuilder, chance: random.Random) -> list[int]:
    """Sizes of the last file: around every border, and anywhere."""
    last = [placed for placed in builder.placed if placed.segment == len(builder.files) - 1]
    borders = [placed.offset + placed.size for placed in last] + [placed.offset for placed in last]
    borders += [offset for placed in last for _record, offset in placed.records]
    points = {border + step for border in borders for step in (-9, -8, -1, 0, 1, 8, 40, 63, 64)}
    points |= {0, 1, 63, 64, 65}
    while len(points) < CUTS:
        points.add(chance.randrange(64 + builder.capacity))
    return sorted(point for point in points if point >= 0)


def test_truncated_last_segment(tmp_path: Path) -> None:
    """At every class of offset: whole frames before the cut are all there, nothing else is."""
    seed = random.randrange(1 << 32)
    builder = mixed_log(tmp_path)
    path = builder.finish()[-1][1]
    whole = Path(path).read_bytes()
    last = len(builder.files) - 1
    points = cut_points(builder, random.Random(seed))
    lost_some = 0
    for size in points:
        Path(path).write_bytes(whole[:size])
        sink, result = scan(builder.files)
        kept = [p for p in builder.placed if p.segment < last or p.offset + p.size <= size]
        end = kept[-1]
        # An unfinished batch at the end is not handed on.
        while kept and kept[-1].kind == codec.BATCH:
            kept.pop()
        expected = [record for placed in kept for record, _ in placed.records]
        found = [record for _k, _i, record, _p in sink.records]
        assert found[: len(expected)] == expected, (seed, size)
        assert result.last_index == end.index, (seed, size)
        if size >= HEAD:
            assert found == expected and sink.lost == [], (seed, size)
        else:  # no crash leaves a file without a head: it is not known what it held
            assert [lost[:2] for lost in sink.lost] == [(result.last_sequence + 1, 0)], (seed, size)
            assert result.sequence_in_doubt, (seed, size)
        assert result.last_sequence >= max(record.sequence for record in expected), (seed, size)
        # The same cut, but the caller knows that all was durable.
        sink, result = scan(builder.files, known_durable=builder.index - 1)
        gone = check_invariants(builder, sink, result, ALL_DURABLE, ALL_DURABLE)
        lost_some += bool(gone)
    print(f"seed {seed}: {len(points)} cuts, {lost_some} of them with losses, all told")
    assert len(points) >= CUTS and lost_some > CUTS // 4


def test_truncated_middle_segment(tmp_path: Path) -> None:
    """Later segments are kept, and exactly what lay behind the cut is told."""
    builder = mixed_log(tmp_path)
    path = builder.finish()[1][1]
    whole = Path(path).read_bytes()
    for size in [0, 64, *range(100, 16000, 997)]:
        Path(path).write_bytes(whole[:size])
        sink, result = scan(builder.files)
        behind = {
            record.sequence
            for placed in builder.placed
            if placed.segment == 1
            for record, offset in placed.records
            if offset + len(codec.build_record(record)) > size
        }
        gone = check_invariants(builder, sink, result, ALL_DURABLE, len(behind))
        assert gone == behind, size
        assert result.last_index == builder.index - 1


@pytest.mark.parametrize("all_durable", [True, False], ids=["durable", "tail not durable"])
def test_flipped_bits(tmp_path: Path, all_durable: bool) -> None:
    """One bit anywhere costs at most the record that it hits; heads are put right."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    builder = mixed_log(tmp_path, all_durable=all_durable)
    files = builder.finish()
    bound = first_not_durable(builder)
    lost, cut = 0, 0
    for number in range(FLIPS // 2):
        placed = chance.choice(builder.placed)
        region = number % 4  # frame head, record head, anywhere in the frame, segment head
        if region == 0 or (region == 1 and not placed.records):
            byte = placed.offset + chance.randrange(64)
        elif region == 1:
            byte = chance.choice(placed.records)[1] + chance.randrange(40)
        elif region == 2:
            byte = placed.offset + chance.randrange(placed.size)
        else:
            byte = chance.randrange(64)
        bit = byte * 8 + chance.randrange(8)
        path = files[placed.segment][1]
        flip(path, bit)
        sink, result = scan(files)
        flip(path, bit)
        hit = {
            record.sequence
            for record, offset in placed.records
            if offset <= byte < offset + len(codec.build_record(record))
        }
        gone = check_invariants(builder, sink, result, bound, 1)
        assert gone <= hit, f"seed {seed}: {gone} gone, {hit} hit by bit {bit} of {path}"
        if gone == hit == set() and not result.cut_bytes and not result.notes:
            assert sink.lost or region != 0, f"seed {seed}: bit {bit} of {path} was not noticed"
        assert result.last_sequence == builder.sequence - 1, seed
        lost += len(gone)
        cut += result.last_index < builder.index - 1
    print(f"seed {seed}: {FLIPS // 2} flips, {lost} records lost and told, {cut} torn tails")
    assert lost > FLIPS // 16 and (all_durable or cut > FLIPS // 80)


def test_zeroed_sectors(tmp_path: Path) -> None:
    """512 bytes anywhere cost the records that they touch."""
    builder = mixed_log(tmp_path)
    files = builder.finish()
    lost = 0
    for number, path in enumerate(path for _base, path in files[:-1]):
        whole = Path(path).read_bytes()
        for offset in range(0, len(whole), 512):
            Path(path).write_bytes(whole[:offset] + bytes(512) + whole[offset + 512 :])
            sink, result = scan(files)
            touched = {
                record.sequence
                for placed in builder.placed
                if placed.segment == number
                for record, at in placed.records
                if at < offset + 512 and at + len(codec.build_record(record)) > offset
            }
            gone = check_invariants(builder, sink, result, ALL_DURABLE, len(touched))
            assert gone <= touched, (path, offset)
            assert result.last_index == builder.index - 1
            lost += len(gone)
        Path(path).write_bytes(whole)
    assert lost > 100


def test_files_missing(tmp_path: Path) -> None:
    """Any but the last: all of it is told, nothing more."""
    builder = mixed_log(tmp_path)
    files = builder.finish()
    for number in range(1, len(files) - 1):
        left = files[:number] + files[number + 1 :]
        inside = {r.sequence for p in builder.placed if p.segment == number for r, _ in p.records}
        sink, result = scan(left)
        gone = check_invariants(builder, sink, result, ALL_DURABLE, len(inside))
        assert gone == inside and result.last_index == builder.index - 1


@pytest.mark.parametrize("heads_too", [False, True])
def test_first_file_emptied(tmp_path: Path, heads_too: bool) -> None:
    """It is there, so it was not dropped: all that was in it is told, whatever the next one looks like."""
    builder = mixed_log(tmp_path)
    files = builder.finish()
    Path(files[0][1]).write_bytes(b"")
    if heads_too:
        flip(files[1][1], 8 * 20)
    inside = {r.sequence for p in builder.placed if p.segment == 0 for r, _ in p.records}
    sink, result = scan(files)
    assert check_invariants(builder, sink, result, ALL_DURABLE, len(inside)) == inside


def test_files_exchanged_and_doubled(tmp_path: Path) -> None:
    """Heads are trusted before names."""
    builder = mixed_log(tmp_path)
    files = builder.finish()
    sink, result = scan([(files[0][0], files[1][1]), (files[1][0], files[0][1]), *files[2:]])
    assert check_invariants(builder, sink, result, ALL_DURABLE, 0) == set() and len(result.notes) == 2
    copy = tmp_path / "copy"
    shutil.copy(files[1][1], copy)
    for base in (files[0][0] + 8, files[-1][0] + 4096):
        sink, result = scan([*files, (base, str(copy))])
        assert check_invariants(builder, sink, result, ALL_DURABLE, 0) == set() and sink.lost == []
        assert any("two segments" in note for note in result.notes)
    # In the place of another one, with no head to tell: its frames have been read before.
    shutil.copy(files[1][1], files[2][1])
    flip(files[2][1], 300)
    inside = {r.sequence for p in builder.placed if p.segment == 2 for r, _ in p.records}
    sink, result = scan(files)
    assert check_invariants(builder, sink, result, ALL_DURABLE, len(inside)) == inside


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder in the place of a segment, and a link: told, no exception."""
    builder = mixed_log(tmp_path)
    files = builder.finish()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(files[1][1])
    inside = {r.sequence for p in builder.placed if p.segment == 1 for r, _ in p.records}
    for path in ("folder", "link", "nothing"):
        sink, result = scan([files[0], (files[1][0], str(tmp_path / path)), *files[2:]])
        assert check_invariants(builder, sink, result, ALL_DURABLE, len(inside)) == inside


@pytest.mark.parametrize("what", ["folder", "link", "nothing", "empty"])
@pytest.mark.parametrize("frames", [3, 60], ids=["the only one", "the last one"])
def test_a_last_segment_that_cannot_be_read_is_told(tmp_path: Path, what: str, frames: int) -> None:
    """Also when nobody says that its frames were durable, and the log goes on behind its name."""
    builder = mixed_log(tmp_path, frames=frames)
    files = builder.finish()
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(files[0][1])
    files[-1] = (files[-1][0], str(tmp_path / what))
    for known_durable in (0, builder.index - 1):
        sink, result = scan(files, known_durable)
        before = [r.sequence for p in builder.placed if p.segment < len(files) - 1 for r, _ in p.records]
        assert [record.sequence for _k, _i, record, _p in sink.records] == before
        assert [lost[:2] for lost in sink.lost] == [(max(before, default=0) + 1, 0)]
        assert result.sequence_in_doubt and result.end_position > files[-1][0]
        assert any("nothing of it can be read" in note for note in result.notes)


def test_a_damaged_message_without_a_payload_was_not_erased(tmp_path: Path) -> None:
    """Zeros stand for what was erased: where there was nothing, damage is damage, and is told."""
    builder = LogBuilder(tmp_path)
    for _ in range(6):
        builder.messages([40, 0, 40])
    files = builder.finish()
    sequence, place = 8, builder.placed[2].records[1][1]
    flip(files[0][1], 8 * (place + 40))  # the first byte of its subject
    sink, result = scan(files, known_durable=6)
    assert sequence not in {record.sequence for _k, _i, record, _p in sink.records}
    assert [lost[:2] for lost in result.lost] == [(sequence, sequence)]


def test_segment_head_damaged(tmp_path: Path) -> None:
    """Costs nothing, wherever the segment is; it is told as a note."""
    builder = mixed_log(tmp_path)
    files = builder.finish()
    for _base, path in files:
        flip(path, 8 * 20)
        sink, result = scan(files)
        flip(path, 8 * 20)
        assert check_invariants(builder, sink, result, ALL_DURABLE, 0) == set()
        assert sink.lost == [] and len(result.notes) == 1 and result.last_index == builder.index - 1


@pytest.mark.parametrize("make_durable", [True, False])
def test_last_segment_is_synced(tmp_path: Path, monkeypatch, make_durable: bool) -> None:
    """What was found in the page cache is made durable before anybody is shown it."""
    builder = mixed_log(tmp_path)
    files = builder.finish()
    synced = []
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    LogScan(LOG_ID, files, make_durable=make_durable).run(CollectingSink())
    assert synced == ([files[-1][1], str(tmp_path), str(tmp_path.parent)] if make_durable else [])
