"""Properties of the watermark: what is read was written once, and damage costs one of two records."""

from shardbroker.storage.disk import Disk
from shardbroker.storage.watermark import FILE, read_watermark, write_watermark


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
