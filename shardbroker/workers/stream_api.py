"""The JetStream API in a worker: requests come in, answers go out.

Every worker hears every request; the one that holds the slot of the stream named in it answers, also when
there is no such stream, and the one that holds the account's slot answers for the account. Requests about a
stream wait until what the stream has accepted before them is stored and applied, so that a client sees its
own publishes. Answers and errors: spec pages 02 and 05; compared with nats-server by tests/conformance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shardbroker.errors import ColdRead
from shardbroker.jetstream import api_errors, api_requests, api_subjects, api_types
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.go_encoding import encode
from shardbroker.jetstream.header_block import get as header
from shardbroker.workers import (
    account_calls,
    consumer_calls,
    message_calls,
    restores,
    snapshots,
    stream_calls,
)
from shardbroker.workers.consumer_explaining import explain_consumer
from shardbroker.workers.direct_get import answer_direct

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

#: Calls that no advisory tells of: they are the traffic itself, or no part of $JS.API.
_NOT_AUDITED = {"STREAM.MSG.GET", "DIRECT.GET", "CONSUMER.MSG.NEXT", "CONSUMER.EXPLAIN"}
_ACCOUNTS = {0: "$G"}
_AUDIT_SUBJECT = "$JS.EVENT.ADVISORY.API"
_AUDIT_TYPE = "io.nats.jetstream.advisory.v1.api_audit"


@dataclass(slots=True)
class Request:
    """One request, and who answers it. ``account`` is a number, as in subscriptions."""

    api: "StreamApi"
    kind: str
    tokens: tuple[str, ...]
    account: int
    account_name: str
    subject: bytes
    reply: bytes
    block: bytes
    payload: bytes
    cid: int

    @property
    def stream(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def entry(self) -> "StreamEntry":
        """The stream it names. Raises 10059, or 10194 for a damaged one."""
        entry = self.api.js.account(self.account_name).get(self.stream)
        if entry is None:
            raise api_errors.STREAM_NOT_FOUND.fresh()
        if entry.damaged:
            raise api_errors.STREAM_OFFLINE_REASON(err=entry.damaged)
        if entry.hosted is None:
            raise api_errors.CLUSTER_NOT_AVAIL.fresh()
        return entry

    def answer(self, body: dict) -> None:
        """Send an answer (api_types) and the audit advisory."""
        self.api.send(self, body)

    def refuse(self, error: ApiError) -> None:
        self.api.send(self, api_types.refusal(self.kind, error))

    def later(self, act: Callable[..., None]) -> Callable[..., None]:
        """``act`` for a callback: an ApiError out of it is the answer."""

        def guarded(*arguments) -> None:
            try:
                act(*arguments)
            except ApiError as error:
                self.refuse(error)
            except ColdRead:  # it comes again
                raise
            except Exception as error:
                self.refuse(_bug(error))
                raise

        return guarded


def _bug(error: Exception) -> ApiError:
    """The answer to a request that a fault of ours has ended; the log tells where."""
    return api_errors.STREAM_GENERAL_ERROR(err=f"internal error: {type(error).__name__}: {error}")


class StreamApi:
    """Answers requests for what this worker owns."""

    def __init__(self, js: "JetStream"):
        self.js = js
        self._calls: dict[str, Callable[[Request], None]] = {
            **account_calls.CALLS,
            **stream_calls.CALLS,
            **message_calls.CALLS,
            **snapshots.CALLS,
            **restores.CALLS,
            **consumer_calls.CALLS,
            "CONSUMER.EXPLAIN": explain_consumer,
        }

    def handle(
        self, hosted, account: int, subject: bytes, reply: bytes, block: bytes, payload: bytes, cid: int
    ) -> None:
        """One request; ``hosted`` is the stream of a direct get that came by its own subscription."""
        call = api_subjects.split(subject.decode("utf-8", "surrogateescape"))
        if call is None or call.kind in api_subjects.SYSTEM_KINDS:
            return  # nats-server does not answer either
        if call.kind == "DIRECT.GET":
            if hosted is not None and reply:
                answer_direct(self.js, hosted, call.tokens, account, reply, block, payload)
            return
        request = Request(
            self, call.kind, call.tokens, account, _ACCOUNTS.get(account, ""), subject, reply, block, payload,
            cid,
        )  # fmt: skip
        if self.js.owner_of(request.account_name, request.stream) != self.js.worker_index:
            return
        try:
            if block and api_requests.is_level_too_high(header(block, b"Nats-Required-Api-Level") or b""):
                raise api_errors.REQUIRED_API_LEVEL.fresh()
            if call.kind in api_subjects.CLUSTER_KINDS:
                raise api_errors.CLUSTER_REQUIRED.fresh()
            act = self._calls.get(call.kind)
            if act is not None:
                act(request)
        except ApiError as error:
            request.refuse(error)
        except ColdRead:  # it comes again
            raise
        except Exception as error:
            request.refuse(_bug(error))
            raise

    def send(self, request: Request, body: dict) -> None:
        """The answer to a request."""
        text = encode(body)
        self.js.host.count_api("error" in body)
        if request.reply:
            self.js.host.send(request.account, request.reply, text)
        if request.kind not in _NOT_AUDITED:
            self._audit(request, text)

    def _audit(self, request: Request, text: bytes) -> None:
        """Spec page 06: who asked what, and what was said. The client is described for listeners only."""
        if not self.js.host.has_interest(request.account, _AUDIT_SUBJECT.encode()):
            return
        asked = {"subject": request.subject.decode("utf-8", "replace")}
        if request.payload:
            asked["request"] = request.payload.decode("utf-8", "replace")
        asked["response"] = text.decode("utf-8", "replace")

        def told(client: dict) -> None:
            fields = {"server": self.js.server_name, "client": client, **asked}
            self.js.advise(_AUDIT_SUBJECT, _AUDIT_TYPE, fields, request.account)

        self.js.describe_client(request.account_name, request.cid, told)
