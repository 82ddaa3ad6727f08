"""What nats-server sends to a client that is alone on it: the parser's records turned into expected bytes.

Sixty lines of broker, enough to make a parsing difference visible: a wrong subject, size, sid or limit
changes a MSG, a missing operation changes the number of +OK, an error changes the last words. Every record of
the parser therefore ends in bytes that can be compared with those of the real server.
"""

from shardbroker.errors import ProtocolError
from shardbroker.protocol import connect_options, server_info, states, writer

ERROR_TEXTS = {
    states.ERROR_UNKNOWN_OPERATION: b"-ERR 'Unknown Protocol Operation'\r\n",
    states.ERROR_CONTROL_LINE: b"-ERR 'maximum control line exceeded'\r\n",
    states.ERROR_MAX_PAYLOAD: b"-ERR 'Maximum Payload Violation'\r\n",
}


class OneClientModel:
    """A verbose client, and all that the server does for it."""

    def __init__(self, modules, control_line_size_max: int, payload_size_max: int) -> None:
        self.parser = modules.parser.Parser(control_line_size_max, payload_size_max, False)
        self.sink = modules.recording_sink.RecordingSink()
        self.kept = b""  # what the parser left unconsumed
        self.output = b""
        self.closed = False
        self.options = connect_options.DEFAULTS
        self.subscriptions: dict[bytes, list] = {}  # sid: [subject, messages received, max or 0]

    def receive(self, data: bytes) -> None:
        """Take one read's worth of bytes."""
        if self.closed:
            return
        data = self.kept + data
        self.sink.answers = [states.STOP]
        position = 0
        while not self.closed:
            # One operation at a time: CONNECT must be able to change the parser's headers_supported.
            self.sink.answers = [states.STOP]
            position = self.parser.feed(data, position, len(data), self.sink)
            if self.parser.error:
                self.output += ERROR_TEXTS.get(self.parser.error, b"")
                self.closed = True
            if not self.sink.records:
                break
            self._act(self.sink.records.pop())
        self.kept = data[position:]

    def _act(self, record: tuple) -> None:
        name = record[0]
        if name in ("PUB", "HPUB"):
            self._say_ok()
            self._deliver(*record[1:8])
        elif name == "SUB":
            subject, _queue, sid = record[1:]
            self._say_ok()
            self.subscriptions.setdefault(sid, [subject, 0, 0])
        elif name == "UNSUB":
            sid, max_messages = record[1:]
            self._say_ok()
            if sid in self.subscriptions:
                if max_messages > self.subscriptions[sid][1]:
                    self.subscriptions[sid][2] = max_messages
                else:
                    del self.subscriptions[sid]
        elif name == "PING":
            self.output += writer.PONG_LINE
        elif name == "CONNECT":
            self._connect(record[1])
        elif name == "INFO":
            self.closed = not server_info.is_acceptable_info(record[1])
        elif name == "-ERR":
            self.closed = True

    def _connect(self, argument: bytes) -> None:
        try:
            self.options = options = connect_options.parse_connect(argument, self.options)
        except ProtocolError:
            self.closed = True
            return
        # The subscriptions made before another CONNECT are gone.
        self.subscriptions.clear()
        self.parser.headers_supported = options.headers
        error = None
        if options.account or options.new_account:
            error = "Authorization Violation"
        elif options.protocol not in (0, 1):
            error = "invalid client protocol"
        elif options.no_responders and not options.headers:
            error = "no responders requires headers support"
        if error:
            self.output += writer.error_line(error)
            self.closed = True
        self._say_ok()

    def _say_ok(self) -> None:
        if self.options.verbose and not self.closed:
            self.output += writer.OK_LINE

    def _deliver(self, subject, reply, header_text, size_text, header_size, _total_size, payload) -> None:
        if not self.options.echo:
            return
        for sid, subscription in list(self.subscriptions.items()):
            pattern, count, max_messages = subscription
            # A subject with an empty token is published to nobody, not even to ">".
            if pattern not in (subject, b">") or b"" in subject.split(b"."):
                continue
            subscription[1] = count + 1
            if subscription[1] == max_messages:
                del self.subscriptions[sid]
            sizes = b"%s %s" % (header_text, size_text) if header_size > 0 else size_text
            name = b"HMSG" if header_size > 0 else b"MSG"
            words = [name, subject, sid, reply, sizes] if reply else [name, subject, sid, sizes]
            self.output += b" ".join(words) + b"\r\n" + payload + b"\r\n"
