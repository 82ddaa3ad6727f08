"""A connection as the parser sees it: reads of any size, and the unconsumed bytes kept by the caller."""

from types import SimpleNamespace
from typing import NamedTuple

from shardbroker.protocol import states
from tests.protocol.wire_cases import CONTROL_LINE_SIZE_MAX, PAYLOAD_SIZE_MAX


class Outcome(NamedTuple):
    """All that a stream of bytes led to."""

    records: list[tuple]
    error: int
    kept: bytes  # not consumed; empty after an error, and inside of what the parser gives up early


class Feeder:
    """Owns a parser and does what its caller has to do. The bytes move to another place before every feed."""

    def __init__(self, modules: SimpleNamespace, headers_supported: bool = True, answers: tuple = ()) -> None:
        self.parser = modules.parser.Parser(CONTROL_LINE_SIZE_MAX, PAYLOAD_SIZE_MAX, headers_supported)
        self.sink = modules.recording_sink.RecordingSink(answers)
        self.kept = b""
        self.feeds = 0

    def feed(self, data: bytes) -> int:
        """Give the parser what was kept and ``data``; returns the bytes consumed."""
        self.feeds += 1
        before = b"PUB x 1\r\n"[: self.feeds % 9]  # must not be looked at
        buffer = before + self.kept + data + b"\r\nPING\r\n"  # neither what follows `end`
        start = len(before)
        end = start + len(self.kept) + len(data)
        position = self.parser.feed(buffer, start, end, self.sink)
        assert start <= position <= end
        self.kept = buffer[position:end]
        return position - start

    def outcome(self) -> Outcome:
        comparable = self.parser.error == states.ERROR_NONE and self.parser.at_boundary()
        return Outcome(self.sink.records, self.parser.error, self.kept if comparable else b"")


def feed_all(modules: SimpleNamespace, parts: list[bytes], headers_supported: bool = True) -> Outcome:
    """The outcome of some reads."""
    feeder = Feeder(modules, headers_supported)
    for part in parts:
        feeder.feed(part)
        if feeder.parser.error != states.ERROR_NONE:
            break
    return feeder.outcome()


def single_bytes(data: bytes) -> list[bytes]:
    """One read for each byte."""
    return [data[index : index + 1] for index in range(len(data))]
