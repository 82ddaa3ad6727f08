"""A client of a running broker for commands that work on streams, on top of nats-py.

Everything that can go wrong becomes a ClientProblem: what, where, why, and what to do.
"""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from shardbroker.cli.broker_client import ClientProblem, connect, reason_of
from shardbroker.decimals import unsigned
from shardbroker.jetstream import header_block

_TIMEOUT_S = 5.0
_NO_MESSAGE, _STREAM_NOT_FOUND, _NOT_ENABLED = 10037, 10059, 10039


class Refusal(ClientProblem):
    """The broker answers with an error."""

    def __init__(self, text: str, err_code: int):
        super().__init__(text)
        self.err_code = err_code


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of a stream. ``time`` is when it was stored, RFC 3339."""

    sequence: int
    subject: str
    time: str
    block: bytes
    payload: bytes

    def header(self, name: bytes) -> str:
        """The first value of a header; "" for none."""
        return (header_block.get(self.block, name) or b"").strip(b" \t").decode("utf-8", "replace")


class RepeatedHeaders:
    """Headers for nats-py, which has them as a dict: a name may come several times here."""

    def __init__(self, pairs: list[tuple[str, str]]):
        self._pairs = pairs

    def items(self) -> list[tuple[str, str]]:
        return self._pairs


class StreamClient:
    """Use as an asynchronous context manager. Every method may raise ClientProblem."""

    def __init__(self, server: str):
        self._server = server
        self._client: Any = None
        self._causes: list[Exception] = []

    async def __aenter__(self) -> "StreamClient":
        self._client, self._causes = await connect(self._server)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    # --- requests ---------------------------------------------------------------------------------------

    async def _request(self, subject: str, body: bytes, headers: RepeatedHeaders | None, nobody: str) -> dict:
        """A request whose answer is JSON; ``nobody`` says what it means that nobody answers."""
        import nats

        try:
            answer = await self._client.request(subject, body, timeout=_TIMEOUT_S, headers=headers)
        except nats.errors.NoRespondersError:
            raise Refusal(nobody, 0) from None
        except (
            nats.errors.BadSubjectError, nats.errors.BadHeaderError, nats.errors.MaxPayloadError, ValueError,
        ) as error:  # fmt: skip
            raise Refusal(f"nats-py cannot send this message to {subject}: {error}", 0) from None
        except nats.errors.TimeoutError:
            raise ClientProblem(
                f"{self._server} does not answer on {subject} within {_TIMEOUT_S:.0f} s"
            ) from None
        except (OSError, nats.errors.Error) as error:
            reason = reason_of(self._causes[-1] if self._causes else error)
            raise ClientProblem(f"the connection to {self._server} failed: {reason}") from None
        try:
            found = orjson.loads(answer.data)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise Refusal(f"what answers on {subject} is no stream", 0)
        error = found.get("error")
        if isinstance(error, dict):
            text = f"{error.get('description')} ({error.get('err_code')})"
            raise Refusal(text, int(error.get("err_code") or 0))
        return found

    async def _call(self, call: str, stream: str, body: dict | None = None) -> dict:
        """A call of the API about a stream."""
        request = b"" if body is None else orjson.dumps(body)
        nobody = f"{self._server} has no JetStream: start the broker with -js"
        try:
            return await self._request(f"$JS.API.{call}.{stream}", request, None, nobody)
        except Refusal as refusal:
            if refusal.err_code == _STREAM_NOT_FOUND:
                text = (
                    f"there is no stream {stream} at {self._server}; give the one that collects dead letters"
                )
                raise Refusal(text, refusal.err_code) from None
            raise

    async def stream_info(self, stream: str) -> dict:
        """STREAM.INFO."""
        if not stream or any(letter in stream for letter in ".*> \t\r\n\\/"):
            raise ClientProblem(f"{stream!r} is no name of a stream")
        return await self._call("STREAM.INFO", stream)

    async def message(self, stream: str, sequence: int) -> StoredMessage | None:
        """One message; None if it is not there."""
        return await self._get(stream, {"seq": sequence})

    async def messages(self, stream: str, first: int, last: int) -> AsyncIterator[StoredMessage]:
        """Those that are there, from ``first`` to ``last``, in order."""
        while first <= last:
            found = await self._get(stream, {"seq": first, "next_by_subj": ">"})
            if found is None or found.sequence > last:
                return
            yield found
            first = found.sequence + 1

    async def _get(self, stream: str, wish: dict) -> StoredMessage | None:
        try:
            answer = await self._call("STREAM.MSG.GET", stream, wish)
        except Refusal as refusal:
            if refusal.err_code == _NO_MESSAGE:
                return None
            raise
        found = answer["message"]
        return StoredMessage(
            found["seq"],
            found["subject"],
            found.get("time", ""),
            base64.b64decode(found.get("hdrs") or ""),
            base64.b64decode(found.get("data") or ""),
        )

    async def delete(self, stream: str, sequence: int) -> None:
        """Remove a message; one that is gone already is no problem."""
        try:
            await self._call("STREAM.MSG.DELETE", stream, {"seq": sequence, "no_erase": True})
        except Refusal as refusal:
            if refusal.err_code not in (_NO_MESSAGE, 10043, 10057):
                raise
            if await self.message(stream, sequence) is not None:
                raise

    async def publish(self, subject: str, payload: bytes, headers: list[tuple[bytes, bytes]]) -> dict:
        """Store a message; its PubAck. Raises Refusal if no stream takes it."""
        try:
            pairs = RepeatedHeaders([(name.decode(), value.decode()) for name, value in headers])
        except UnicodeDecodeError as error:
            raise Refusal(f"a header is not UTF-8, which nats-py cannot send: {error.object!r}", 0) from None
        answer = await self._request(subject, payload, pairs, f"no stream takes messages on {subject}")
        sequence = unsigned(str(answer.get("seq", "")), 2**64 - 1)
        if not answer.get("stream") or not sequence:
            raise Refusal(f"what answers on {subject} is no stream", 0)
        return answer
