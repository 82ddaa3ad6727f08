"""The parser of what a client sends: bytes in, calls of a sink out. It does no I/O and makes no object.

One source, two ways to run: compiled (``parser.pxd`` gives the C types) and interpreted, where it serves the
tests as their own second opinion. ``states.py`` draws the state machine.

How a caller uses it. It reads into a buffer, calls ``feed(data, start, end, sink)`` and keeps what lies
between the returned position and ``end``: the beginning of an operation that is not complete. Next time it
passes the same bytes and more, at the same address or another. Because an unfinished operation stays whole in
the buffer, a callback sees its operation in one piece, and the parser remembers only *how far* it looked:
``scanned`` bytes without a line feed, or that the whole operation will have ``need`` bytes. Both are relative
to the returned position and both are hints: after ``reset()`` the parser starts that operation anew and comes
to the same result. A connection can therefore be moved to another process as nothing but its unread bytes.

Two things without a limit in nats-server would let those bytes grow for ever: blanks behind a name, and what
follows PING, PONG or +OK up to the line feed. Above KEPT_SIZE_MAX they are consumed unfinished; only then is
``at_boundary()`` false.

Errors come as early as nats-server's, on the same byte: a wrong letter at once, a long line before its end, a
bad size or header size before the payload, a wrong byte behind the payload at that byte.

Where we differ from nats-server 2.15.1, on purpose (``tests/protocol/test_against_nats_server.py`` lists the
inputs):

- A CR or LF inside the argument of PUB and HPUB is an argument error. nats-server takes it into the subject
  and writes it into the MSG lines of other clients, which breaks their parsers.
- Bytes that the real server loses when a CR stands inside an argument depend there on how the network cut the
  stream. Here the result never depends on the cut: it is the one that nats-server has for an uncut line.
- HMSG from a client is wrong at its M, as MSG is. nats-server reads it to the end of the line first.
"""

from shardbroker.limits import control_line_size_max_default, payload_size_max_default
from shardbroker.protocol import states
from shardbroker.protocol.operation import Operation
from shardbroker.protocol.states import (
    CONNECT_ARGUMENT,
    ERROR_CONTROL_LINE,
    ERROR_HEADERS_UNSUPPORTED,
    ERROR_MAX_PAYLOAD,
    ERROR_UNKNOWN_OPERATION,
    HPUB_ARGUMENT,
    INFO_ARGUMENT,
    LAST_SETTLED,
    OK_LINE,
    PARK,
    PING_LINE,
    PONG_LINE,
    PROCEED,
    PUB_ARGUMENT,
    PUB_SPACE,
    SIZE_DIGITS_MAX,
    SPACE_TO_ARGUMENT,
    START,
    STOP,
    SUB_ARGUMENT,
    UNSUB_ARGUMENT,
    WRONG,
)

SPACE = 0x20
CR = 0x0D
LF = 0x0A
ZERO = 0x30
NINE = 0x39
UPPER_B = 0x42
UPPER_H = 0x48
UPPER_P = 0x50
UPPER_U = 0x55

KEPT_SIZE_MAX = 16  # bytes of an unfinished operation that hold nothing to remember


class Parser(Operation):
    """The parser of one connection; see the top of this file, and ``parser.pxd`` for the fields."""

    def __init__(
        self,
        control_line_size_max=control_line_size_max_default,
        payload_size_max=payload_size_max_default,
        headers_supported=True,
    ):
        super().__init__()
        self.control_line_size_max = control_line_size_max
        self.payload_size_max = payload_size_max
        self.headers_supported = headers_supported
        transitions = states.TRANSITIONS  # a local reference: the module keeps the table alive
        self.transitions = transitions
        self.error = 0
        self.reset()

    def reset(self):
        """Forget how far an unfinished operation was looked at; the next feed begins at its start."""
        self.state = START
        self.scanned = 0
        self.need = 0

    def at_boundary(self):
        """Whether the position that feed() returned is the start of an operation (it nearly always is)."""
        return self.state == START

    def feed(self, data, start, end, sink):
        """Parse the whole operations in ``data[start:end)`` and call the sink for each.

        Returns the position up to which bytes are consumed: ``end``, or the start of an operation that is
        unfinished, parked by the sink or in error (``error`` is then set), or what follows one that the sink
        stopped at. An exception of the sink passes through; the operation is then as if parked.
        """
        position = start
        self.data = data
        if self.error != 0:
            return position
        if self.scanned != 0 or self.need != 0 or self.state != START:
            if position == end:
                return position
            position = self._any_operation(data, position, end, sink)
            if self.halted:
                return position
        while position < end:
            op_end = 0
            if data[position] == UPPER_P:
                op_end = self._short_publish(data, position, end)
            elif data[position] == UPPER_H and self.headers_supported:
                op_end = self._short_header_publish(data, position, end)
            if op_end == 0:
                position = self._any_operation(data, position, end, sink)
                if self.halted:
                    return position
                continue
            answer = sink.on_publish(self)
            if answer != PROCEED:
                return position if answer == PARK else op_end
            # Not the local op_end: a sink may have taken whole PUBs behind this one with the same control
            # line, and says so by moving ours (workers/session.pyx, run_ahead).
            position = self.op_end
        return position

    def _short_publish(self, data, position, end):
        """The short way for a whole PUB: capitals, single spaces, CR LF. Returns ``op_end``, or 0.

        Whatever is not exactly so, wrong or only unusual or unfinished, is left to ``_any_operation``, which
        starts again from the name. Local variables until all is known: stores cost here.
        """
        p = position + 4
        if (
            p >= end
            or data[position + 1] != UPPER_U
            or data[position + 2] != UPPER_B
            or data[position + 3] != SPACE
        ):
            return 0
        while p < end and data[p] > SPACE:
            p += 1
        subject_end = p
        reply_start = reply_end = word = p = p + 1
        size = 0
        while p < end and ZERO <= data[p] <= NINE:
            size = size * 10 + (data[p] - ZERO)
            p += 1
        if p < end and data[p] > SPACE:
            # Not a size: a reply subject, then the size.
            while p < end and data[p] > SPACE:
                p += 1
            reply_end = p
            word = p = p + 1
            size = 0
            while p < end and ZERO <= data[p] <= NINE:
                size = size * 10 + (data[p] - ZERO)
                p += 1
        payload_start = p + 2
        if (
            payload_start >= end
            or data[p] != CR
            or data[p + 1] != LF
            or subject_end == position + 4
            or data[subject_end] != SPACE
            or data[word - 1] != SPACE
            or p == word
            or p - word > SIZE_DIGITS_MAX
            or p - position - 4 > self.control_line_size_max
        ):
            return 0
        self.total_size = size
        op_end = payload_start + self.total_size + 2
        if (
            self.total_size > self.payload_size_max
            or op_end > end
            or data[op_end - 2] != CR
            or data[op_end - 1] != LF
        ):
            return 0
        self.op_start = position
        self.subject_start = position + 4
        self.subject_end = subject_end
        self.reply_start = reply_start
        self.reply_end = reply_end
        self.header_text_start = self.header_text_end = self.size_text_start = word
        self.size_text_end = p
        self.header_size = -1
        self.payload_start = payload_start
        self.op_end = op_end
        self.canonical = True
        return op_end

    def _short_header_publish(self, data, position, end):
        """The same for a whole HPUB. Fields are written at once: what is written in vain does no harm."""
        p = position + 5
        if (
            p >= end
            or data[position + 1] != UPPER_P
            or data[position + 2] != UPPER_U
            or data[position + 3] != UPPER_B
            or data[position + 4] != SPACE
        ):
            return 0
        self.op_start = position
        self.subject_start = p
        while p < end and data[p] > SPACE:
            p += 1
        self.subject_end = p
        p += 1
        self.reply_start = self.reply_end = word = p
        while p < end and ZERO <= data[p] <= NINE:
            p += 1
        if p < end and data[p] > SPACE:
            while p < end and data[p] > SPACE:
                p += 1
            self.reply_end = p
            word = p = p + 1
            while p < end and ZERO <= data[p] <= NINE:
                p += 1
        self.header_text_start = word
        self.header_text_end = p
        self.size_text_start = p = p + 1
        while p < end and ZERO <= data[p] <= NINE:
            p += 1
        self.size_text_end = p
        self.payload_start = p + 2
        if (
            self.payload_start >= end
            or data[p] != CR
            or data[p + 1] != LF
            or self.subject_start == self.subject_end
            or data[self.subject_end] != SPACE
            or data[word - 1] != SPACE
            or data[self.size_text_start - 1] != SPACE
            or p - position - 5 > self.control_line_size_max
        ):
            return 0
        self.header_size = self.number_in(word, self.header_text_end)
        self.total_size = self.number_in(self.size_text_start, p)
        if not 0 <= self.header_size <= self.total_size <= self.payload_size_max:
            return 0
        self.op_end = self.payload_start + self.total_size + 2
        if self.op_end > end or data[self.op_end - 2] != CR or data[self.op_end - 1] != LF:
            return 0
        self.canonical = True
        return self.op_end

    def _any_operation(self, data, position, end, sink):
        """Parse one operation, whatever it is. Returns the new position; ``halted`` says to leave feed()."""
        self.halted = True
        if end - position < self.need:
            # The control line was checked before; the CR behind the payload may have arrived.
            if end - position == self.need - 1 and data[end - 1] != CR:
                return self._fail(ERROR_UNKNOWN_OPERATION, position)
            return position

        # The name.
        state = self.state
        p = position
        while state >= PUB_SPACE and p < end:
            state = self.transitions[(state << 8) | data[p]]
            p += 1
        if state == WRONG:
            return self._fail(ERROR_UNKNOWN_OPERATION, position)
        if state > LAST_SETTLED:
            return self._wait(state, position, end, state < START)

        # The line. The first byte of an argument is never looked at as a line end.
        if state < PING_LINE:
            self.argument_start = p - 1
            if p - 1 - position > KEPT_SIZE_MAX:
                self.state = state - SPACE_TO_ARGUMENT
                self.scanned = 0
                position = p - 1
        self.op_start = position
        if p < position + self.scanned:
            p = position + self.scanned
        while p < end and data[p] != LF:
            p += 1
        if p == end:
            if state >= PING_LINE:
                return self._wait(state, position, end, True)
            # Looking for a CR in the argument is work that must not be repeated for every byte that arrives.
            excess = end - self.argument_start - self.control_line_size_max
            if excess > 0 and self.argument_size(self.argument_start, end) > self.control_line_size_max:
                return self._fail(ERROR_CONTROL_LINE, position)
            return self._wait(state, position, end, False)
        self.op_end = p + 1

        # The argument, and the payload if there is one.
        if state < PING_LINE:
            self.argument_end = self.argument_start + self.argument_size(self.argument_start, p)
            if self.argument_end - self.argument_start > self.control_line_size_max:
                return self._fail(ERROR_CONTROL_LINE, position)
            answer = self._argument(state)
            if answer != 0:
                return self._fail(answer, position)
            if state <= HPUB_ARGUMENT:
                answer = self._payload(position, end)
                if answer != 0:
                    return self._fail(answer, position)
                if self.op_end > end:
                    self.need = self.op_end - position
                    return position

        answer = self._dispatch(state, sink)
        if answer == PARK:
            return position
        self.reset()
        self.halted = answer == STOP
        return self.op_end

    def _dispatch(self, state, sink):
        """Call the sink's method for an operation that is complete."""
        if state <= HPUB_ARGUMENT:
            return sink.on_publish(self)
        if state == SUB_ARGUMENT:
            return sink.on_subscribe(self)
        if state == UNSUB_ARGUMENT:
            return sink.on_unsubscribe(self)
        if state == PING_LINE:
            return sink.on_ping(self)
        if state == PONG_LINE:
            return sink.on_pong(self)
        if state == CONNECT_ARGUMENT:
            return sink.on_connect(self)
        if state == INFO_ARGUMENT:
            return sink.on_info(self)
        if state == OK_LINE:
            return sink.on_ok(self)
        return sink.on_client_error(self)

    def _fail(self, error, position):
        """Stop for good."""
        self.error = error
        return position

    def _wait(self, state, position, end, consumable):
        """Leave feed() until more bytes arrive; give up the bytes of an endless blank or skipped line."""
        if consumable and end - position > KEPT_SIZE_MAX:
            self.state = state
            self.scanned = 0
            return end
        self.scanned = end - position
        return position

    def _argument(self, state):
        """Take the argument apart; the error, or 0."""
        if state == PUB_ARGUMENT:
            return self.read_publish(False)
        if state == HPUB_ARGUMENT:
            if not self.headers_supported:
                return ERROR_HEADERS_UNSUPPORTED
            return self.read_publish(True)
        if state == SUB_ARGUMENT:
            return self.read_subscribe()
        if state == UNSUB_ARGUMENT:
            return self.read_unsubscribe()
        return 0

    def _payload(self, position, end):
        """Move ``op_end`` behind the payload; check the bytes after it that are there; the error, or 0."""
        if self.total_size > self.payload_size_max:
            return ERROR_MAX_PAYLOAD
        self.payload_start = self.op_end
        self.op_end = self.payload_start + self.total_size + 2
        tail = self.op_end - 2
        if tail < end and self.data[tail] != CR:
            return ERROR_UNKNOWN_OPERATION
        if tail + 1 < end and self.data[tail + 1] != LF:
            return ERROR_UNKNOWN_OPERATION
        return 0
