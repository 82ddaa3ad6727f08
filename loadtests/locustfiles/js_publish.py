"""Publish into a stream: every user sends bursts to a subject of its own and waits for the acknowledgements.

All users share one stream, which the first one creates. A message counts when its PubAck has come; its time
runs from just before its own send. A missing, doubled or foreign acknowledgement, a sequence that does not
rise, an error and "no responders" are failures. After each burst the user fetches the last message of its
subject (row GET): it must be the last one acknowledged, whole.

    shardbroker -js -sd /tmp/streams &
    locust -f loadtests/locustfiles/js_publish.py --headless -u 50 -r 50 -t 30s --processes 2
"""

import json
import time

from gevent.event import Event
from locust import events, task

from loadtests.nats_user import Message, NatsError, NatsUser, timeout_s_default, unique_name

max_msgs_per_subject = 1000  # an endless run must not fill the disk


class JetStreamPublishUser(NatsUser):
    """One connection that publishes and hears the answers."""

    def on_start(self) -> None:
        self.stream = f"{self.prefix}_js_publish"
        self.subject = f"{self.prefix}.js_publish.{self.name}"
        self.sequence = 0  # of the next message to send
        self.stored = 0  # the highest sequence of the stream that was told to us
        self.starts: dict[str, tuple[int, float]] = {}  # by reply subject: which message, and when
        self.answered = Event()
        self.connection = self.connect("publisher")
        self.inbox = f"_INBOX.{unique_name()}"
        self.connection.subscribe(f"{self.inbox}.*", self.on_answer)
        self.create_stream()

    def create_stream(self) -> None:
        """The same configuration again is no error: every user asks for it."""
        config = {
            "name": self.stream,
            "subjects": [f"{self.prefix}.js_publish.>"],
            "storage": self.environment.parsed_options.storage,
            "max_msgs_per_subject": max_msgs_per_subject,
            "allow_direct": True,
        }
        start = time.perf_counter()
        try:
            answer = self.connection.request(
                f"$JS.API.STREAM.CREATE.{self.stream}", json.dumps(config).encode()
            )
            if answer.is_no_responders:
                raise NatsError("the server has no JetStream")
            error = json.loads(answer.payload).get("error")
            if error:
                raise NatsError(f"stream not created: {error.get('description')}")
        except NatsError as error:
            self.report("CREATE", "stream", start, exception=error)
            raise
        self.report("CREATE", "stream", start)

    @task
    def burst(self) -> None:
        count = self.environment.parsed_options.burst
        self.answered.clear()
        for sequence in range(self.sequence, self.sequence + count):
            reply = f"{self.inbox}.{sequence}"
            start = time.perf_counter()
            self.starts[reply] = (sequence, start)
            try:
                self.connection.publish(self.subject, self.payload(sequence), reply)
            except NatsError as error:
                self.report("PUBACK", "publish to answer", start, exception=error)
                raise
        self.sequence += count
        if not self.answered.wait(timeout=timeout_s_default):
            late = NatsError("not acknowledged in time")
            for _, start in self.starts.values():
                self.report("PUBACK", "publish to answer", start, exception=late)
            self.starts.clear()
            return
        self.check_last()

    def on_answer(self, message: Message) -> None:
        sequence, start = self.starts.pop(message.subject, (-1, time.perf_counter()))
        problem = NatsError("a second answer") if sequence < 0 else self.problem_of(message)
        self.report("PUBACK", "publish to answer", start, self.payload_size, problem)
        if not self.starts:
            self.answered.set()

    def problem_of(self, message: Message) -> NatsError | None:
        """What is wrong with an answer; remembers the sequence that it tells."""
        if message.is_no_responders:
            return NatsError("no responders: nobody stores this subject")
        try:
            answer = json.loads(message.payload)
        except ValueError:
            return NatsError(f"an answer that is no JSON: {message.payload[:80]!r}")
        if "error" in answer:
            return NatsError(f"refused: {answer['error'].get('description')}")
        if answer.get("stream") != self.stream or answer.get("duplicate"):
            return NatsError(f"a foreign answer: {answer}")
        before, self.stored = self.stored, max(self.stored, answer["seq"])
        if answer["seq"] <= before:
            return NatsError("a sequence that does not rise")
        return None

    def check_last(self) -> None:
        start = time.perf_counter()
        problem = None
        try:
            answer = self.connection.request(f"$JS.API.DIRECT.GET.{self.stream}.{self.subject}", b"")
            if answer.payload != self.payload(self.sequence - 1):
                problem = NatsError("acknowledged, and not the last message of its subject")
            elif f"\r\nNats-Sequence: {self.stored}\r\n".encode() not in answer.headers:
                problem = NatsError("stored with another sequence than acknowledged")
        except NatsError as error:
            problem = error
        self.report("GET", "last of subject", start, self.payload_size, problem)


@events.init_command_line_parser.add_listener
def add_arguments(parser) -> None:
    group = parser.add_argument_group("JetStream")
    group.add_argument("--storage", choices=("file", "memory"), default="file", help="of the stream (file)")
