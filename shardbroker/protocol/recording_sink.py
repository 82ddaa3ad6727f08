"""A sink that writes down what the parser told it. For tests, fuzzing and looking at a stream by hand."""

from shardbroker.protocol.sink import Sink


class RecordingSink(Sink):
    """Copies every range of every operation into ``records``, and answers from ``answers``."""

    def __init__(self, answers=()):
        self.records = []
        self.answers = list(answers)

    def on_publish(self, parser):
        """``("PUB"|"HPUB", subject, reply, #hdr, #total, header_size, total_size, payload, canonical)``."""
        return self._record(
            (
                "PUB" if parser.header_size < 0 else "HPUB",
                self._range(parser, parser.subject_start, parser.subject_end),
                self._range(parser, parser.reply_start, parser.reply_end),
                self._range(parser, parser.header_text_start, parser.header_text_end),
                self._range(parser, parser.size_text_start, parser.size_text_end),
                parser.header_size,
                parser.total_size,
                self._range(parser, parser.payload_start, parser.op_end - 2),
                self._range(parser, parser.subject_end + 1, parser.op_end) if parser.canonical else None,
            )
        )

    def on_subscribe(self, parser):
        """``("SUB", subject, queue, sid)``."""
        return self._record(
            (
                "SUB",
                self._range(parser, parser.subject_start, parser.subject_end),
                self._range(parser, parser.queue_start, parser.queue_end),
                self._range(parser, parser.sid_start, parser.sid_end),
            )
        )

    def on_unsubscribe(self, parser):
        """``("UNSUB", sid, max_messages)``."""
        return self._record(
            ("UNSUB", self._range(parser, parser.sid_start, parser.sid_end), parser.max_messages)
        )

    def on_connect(self, parser):
        """``("CONNECT", argument)``."""
        return self._record(("CONNECT", self._range(parser, parser.argument_start, parser.argument_end)))

    def on_ping(self, parser):
        """``("PING",)``."""
        return self._record(("PING",))

    def on_pong(self, parser):
        """``("PONG",)``."""
        return self._record(("PONG",))

    def on_info(self, parser):
        """``("INFO", argument)``."""
        return self._record(("INFO", self._range(parser, parser.argument_start, parser.argument_end)))

    def on_ok(self, parser):
        """``("+OK",)``."""
        return self._record(("+OK",))

    def on_client_error(self, parser):
        """``("-ERR", argument)``."""
        return self._record(("-ERR", self._range(parser, parser.argument_start, parser.argument_end)))

    def _range(self, parser, start, end):
        return bytes(parser.data[start:end])

    def _record(self, record):
        self.records.append(record)
        return self.answers.pop(0) if self.answers else 0
