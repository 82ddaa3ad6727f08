"""The parser alone: whole PUB and HPUB commands in chunks of about 128 KiB, a sink that only counts."""

from types import ModuleType

from loadtests.benchmarks.timing import measure, show
from shardbroker.protocol.parser import Parser

chunk_size = 131072


def run(loops: ModuleType) -> None:
    header = b"NATS/1.0\r\nLoad: " + b"h" * 44 + b"\r\n\r\n"
    for size in (16, 128, 1024):
        payload = b"x" * size
        _bench(loops, f"PUB {size} B", b"PUB bench.000000 %d\r\n%s\r\n" % (size, payload))
    payload = b"x" * 128
    _bench(loops, "PUB 128 B with reply", b"PUB bench.000000 _INBOX.abc.1 128\r\n%s\r\n" % payload)
    sizes = (len(header), len(header) + 128)
    _bench(loops, "HPUB 64 + 128 B", b"HPUB bench.000000 %d %d\r\n%s%s\r\n" % (*sizes, header, payload))


def _bench(loops: ModuleType, title: str, command: bytes) -> None:
    per_round = max(1, chunk_size // len(command))
    data = command * per_round
    parser, sink = Parser(), loops.CountingSink()
    parser.headers_supported = True
    rounds_done = 0

    def work(rounds: int) -> None:
        nonlocal rounds_done
        rounds_done += rounds
        loops.parse(parser, sink, data, rounds)

    median_ns, fastest_ns = measure(work, first_count=1)
    assert sink.messages == rounds_done * per_round
    show(f"parser: {title}", median_ns / per_round, fastest_ns / per_round)
