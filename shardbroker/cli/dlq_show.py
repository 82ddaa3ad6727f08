"""``shardbroker dlq show``: one dead letter, its headers and its payload."""

import sys

from shardbroker.cli.broker_client import ClientProblem
from shardbroker.cli.stream_client import StoredMessage, StreamClient
from shardbroker.cli.tables import visible
from shardbroker.jetstream import dead_letters as names
from shardbroker.jetstream.header_block import parse_pairs

DEFAULT_BYTES = 4096
_BYTES_IN_ROW = 16


async def show(
    client: StreamClient, stream: str, sequence: int, *, raw: bool, as_hex: bool, bytes_max: int
) -> int:
    """Print a message. Raises ClientProblem."""
    await client.stream_info(stream)
    message = await client.message(stream, sequence)
    if message is None:
        raise ClientProblem(
            f"stream {stream} has no message {sequence}: it was removed, or never was there; "
            f"'shardbroker dlq ls {stream}' tells what there is"
        )
    if raw:
        sys.stdout.buffer.write(message.payload)
        sys.stdout.buffer.flush()
        return 0
    for name, text in _facts(stream, message):
        print(f"{name + ':':<12} {visible(text)}")
    print("\nheaders:")
    for name, value in parse_pairs(message.block):
        print(f"  {visible(name.decode('utf-8', 'replace'))}: {visible(value.decode('utf-8', 'replace'))}")
    _print_payload(message.payload, as_hex, bytes_max)
    return 0


def _facts(stream: str, message: StoredMessage) -> list[tuple[str, str]]:
    facts = [("message", f"{message.sequence} of {stream}, on {message.subject}, stored {message.time}")]
    if not message.header(names.SUBJECT):
        return [*facts, ("reason", "none is given: this is no dead letter")]
    reason, deliveries = message.header(names.REASON), message.header(names.DELIVERIES)
    facts.append(("reason", f"{reason}, delivered {deliveries} time{'s' * (deliveries != '1')}"))
    if message.header(names.DESCRIPTION):
        facts.append(("description", message.header(names.DESCRIPTION)))
    facts.append(("died", message.header(names.TIME)))
    facts.append(("consumer", f"{message.header(names.STREAM)} > {message.header(names.CONSUMER)}"))
    facts.append(("original", f"message {message.header(names.SEQUENCE)} on {message.header(names.SUBJECT)}"))
    return facts


def _print_payload(payload: bytes, as_hex: bool, bytes_max: int) -> None:
    shown = payload[:bytes_max]
    left = f", the first {len(shown)}" if len(shown) < len(payload) else ""
    print(f"\npayload: {len(payload)} bytes{left}")
    # A character may be cut in two at the end.
    text = shown.decode("utf-8", "ignore" if left else "replace")
    if not as_hex and "�" not in text and all(letter.isprintable() or letter in "\r\n\t" for letter in text):
        print(text)
        return
    for start in range(0, len(shown), _BYTES_IN_ROW):
        row = shown[start : start + _BYTES_IN_ROW]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        print(f"{start:08x}  {row.hex(' '):<{3 * _BYTES_IN_ROW}} {letters}")
