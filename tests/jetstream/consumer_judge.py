"""A nats-server and our functions for consumers, given the same requests.

The streams are made once and stay; consumers come and go. `ConsumerPair.compare` sends a request to both and
asserts that both say the same: the error, or the bytes of the whole configuration in the answer.
"""

import json

from shardbroker.jetstream import api_subjects
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.config_checks import check_create as check_stream
from shardbroker.jetstream.consumer_checks import check_create
from shardbroker.jetstream.consumer_index import ConsumerIndex
from shardbroker.jetstream.consumer_requests import read_create
from shardbroker.jetstream.go_encoding import encode
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.stream_config import StreamConfig, read_config_request
from tests.jetstream.judge import DictAccount, Judge

FRESH_NAME = "FRESHNAM"


class Interest:
    """The subjects that somebody subscribes to."""

    def __init__(self) -> None:
        self.subjects: set[str] = set()

    def has_interest(self, subject: str) -> bool:
        return subject in self.subjects


class ConsumerPair:
    """nats-server and ours. ``streams`` are bodies of STREAM.CREATE."""

    def __init__(
        self,
        streams: list[dict],
        configuration: str = "",
        limits: JetStreamLimits | None = None,
        **credentials: str,
    ) -> None:
        self.judge = Judge(configuration, **credentials)
        self.version = self.judge.client.info["version"]
        self.limits = limits or JetStreamLimits()
        self.interest = Interest()
        self.streams: dict[str, StreamConfig] = {}
        self.consumers: dict[str, ConsumerIndex] = {}
        for stream in streams:
            body = json.dumps(stream).encode()
            answer = self.judge.ask(f"$JS.API.STREAM.CREATE.{stream['name']}", body)
            assert b'"error"' not in answer, answer
            config, _ = read_config_request(body)
            self.streams[config.name] = check_stream(config.name, config, self.limits, DictAccount())
            self.consumers[config.name] = ConsumerIndex()

    def subscribe(self, subject: str) -> None:
        """Somebody listens from now on."""
        self.judge.client.subscribe(subject, f"to-{subject}")
        self.interest.subjects.add(subject)

    def reset(self) -> None:
        """No consumers."""
        for stream in self.streams:
            names = json.loads(self.judge.ask(f"$JS.API.CONSUMER.NAMES.{stream}"))["consumers"]
            # Direct consumers are not listed.
            for name in {*names, *self.consumers[stream]}:
                self.judge.ask(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")
            self.consumers[stream] = ConsumerIndex()

    def theirs(self, subject: str, body: bytes) -> object:
        """(code, err_code, text) or the bytes of the configuration."""
        answer = self.judge.ask(subject, body)
        if answer is None:
            return None
        error = json.loads(answer).get("error")
        if error is not None:
            return error["code"], error["err_code"], error["description"]
        self.last_name = json.loads(answer)["name"]
        return answer.split(b'"config":', 1)[1].split(b',"delivered":', 1)[0]

    def ours(self, subject: str, body: bytes) -> object:
        """The same from our functions; the consumer is kept."""
        call = api_subjects.split(subject)
        if call is None:
            return None
        try:
            request = read_create(call.kind, call.tokens, body)
            if request.stream not in self.streams:
                return 404, 10059, "stream not found"
            index = self.consumers[request.stream]
            checked = check_create(
                request.config,
                self.streams[request.stream],
                self.limits,
                index,
                self.interest,
                action=request.action,
                pedantic=request.pedantic,
                fresh_name=FRESH_NAME,
            )
        except ApiError as error:
            return error.code, error.err_code, error.description
        # A name that the server has chosen is theirs, so that both know the consumer by the same.
        name = self.last_name if checked.name == FRESH_NAME else checked.name
        index.put(name, checked.config)
        return encode(checked.config.to_json_dict(self.version))

    def compare(self, subject: str, body: bytes | dict) -> object:
        """Both say the same, which is the result."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        theirs = self.theirs(subject, data)
        ours = self.ours(subject, data)
        assert ours == theirs, (subject, data, ours, theirs)
        return theirs

    def create(self, stream: str, name: str, /, action: str = "", pedantic: bool = False, **config: object):
        """CONSUMER.CREATE in the usual form."""
        body: dict[str, object] = {"stream_name": stream, "config": config, "action": action}
        if pedantic:
            body["pedantic"] = True
        return self.compare(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", body)

    def close(self) -> None:
        """Stop the server and delete its files."""
        self.judge.close()
