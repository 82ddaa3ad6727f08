"""Properties of the watermark: what is read was written once, and damage costs one of two records."""

from shardbroker.storage.disk import Disk
from shardbroker.storage.watermark import FILE, lower_watermark, read_watermark, write_watermark


def test_the_last_one_written_is_read(tmp_path):
    directory = str(tmp_path)
    assert read_watermark(Disk(), directory) == 0
    for index in (1, 7, 8, 1 << 40):
        write_watermark(Disk(), directory, index)
        assert read_watermark(Disk(), directory) == index


def test_any_flipped_bit_costs_at_most_one_record(tmp_path):
    directory = str(tmp_path)
    write_watermark(Disk(), directory, 5)
    write_watermark(Disk(), directory, 9)
    path = tmp_path / FILE
    good = path.read_bytes()
    seen = set()
    for at in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            path.write_bytes(bytes(bad))
            seen.add(read_watermark(Disk(), directory))
    assert seen == {5, 9}
    for size in range(len(good)):
        path.write_bytes(good[:size])
        assert read_watermark(Disk(), directory) in (0, 5)


def test_no_file_no_directory_no_error(tmp_path):
    assert read_watermark(Disk(), f"{tmp_path}/none") == 0
    (tmp_path / FILE).mkdir()
    assert read_watermark(Disk(), str(tmp_path)) == 0


def test_after_it_was_lowered_no_half_of_a_higher_claim_is_left(tmp_path):
    """It may have been torn at any byte, and a later write that is torn would make it whole."""
    directory, path = str(tmp_path), tmp_path / FILE
    lower_watermark(Disk(), directory, 3)
    assert not path.exists()
    write_watermark(Disk(), directory, 3)
    lower_watermark(Disk(), directory, 3)
    low = path.read_bytes()
    assert low[:16] == low[512:] and not any(low[16:512])
    write_watermark(Disk(), directory, 9)
    write_watermark(Disk(), directory, 17)
    high = path.read_bytes()
    for size in range(0, len(high) + 1, 3):
        path.write_bytes(high[:size])
        lower_watermark(Disk(), directory, 3)
        assert path.read_bytes() == low
    assert read_watermark(Disk(), directory) == 3
