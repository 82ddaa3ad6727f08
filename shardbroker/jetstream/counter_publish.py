"""Counters of one stream: where the value stands that a message adds to.

The rules are in counters.py. Here is kept what makes them usable while messages are on their way to the
disk: the newest value of each subject that was counted lately. It holds as long as the stream's last sequence
of the subject is the one it was stored under; otherwise the message is read from the log.
"""

from collections import OrderedDict

from shardbroker.errors import ShardbrokerError
from shardbroker.jetstream import api_errors, counters
from shardbroker.jetstream.api_error import ApiError

VALUES_KEPT = 4096  # subjects; a value is some hundred bytes, reading it from the log 10 microseconds

_ERRORS = {
    counters.DISABLED: api_errors.MESSAGE_INCR_DISABLED,
    counters.PAYLOAD: api_errors.MESSAGE_INCR_PAYLOAD,
    counters.INVALID: api_errors.MESSAGE_INCR_INVALID,
    counters.BROKEN: api_errors.MESSAGE_COUNTER_BROKEN,
}


class CounterPublish:
    """``read`` is the owner's, see special_publish."""

    def __init__(self) -> None:
        self.is_on = False
        self.read = None
        self._values: OrderedDict[bytes, tuple[int, bytes, bytes]] = OrderedDict()

    def check(self, block: bytes, payload_size: int) -> ApiError | int | None:
        """The increment in a client's message, or what is wrong with it."""
        try:
            return counters.check_increment(block, payload_size, self.is_on)
        except counters.CounterError as error:
            return _ERRORS[error.err_code]

    def count(
        self,
        stream,
        subject: bytes,
        block: bytes,
        payload: bytes,
        increment: int,
        last: tuple[bytes, bytes] | None,
    ) -> ApiError | tuple[bytes, bytes, bytes]:
        """(header block, payload, value) to store. ``last``: the newest of the same batch, if any."""
        try:
            if last is None:
                last = self._last(stream, subject)
            return counters.apply_increment(subject, block, payload, increment, last)
        except counters.CounterError as error:
            return _ERRORS[error.err_code]
        except ShardbrokerError as error:
            return api_errors.STREAM_STORE_FAILED(err=str(error))

    def note(self, subject: bytes, sequence: int, block: bytes, payload: bytes) -> None:
        """The message got this sequence."""
        self._values[subject] = (sequence, block, payload)
        self._values.move_to_end(subject)

    def forget(self) -> None:
        """Sequences that were given out will be given out again."""
        self._values.clear()

    def _last(self, stream, subject: bytes) -> tuple[bytes, bytes] | None:
        """(header block, payload) of the newest message of the subject, committed or not."""
        sequence = stream.last_sequence_on(subject)
        if sequence == 0:
            return None
        known = self._values.get(subject)
        if known is not None and known[0] == sequence:
            return known[1], known[2]
        message = self.read(sequence)
        self._trim(stream)
        return None if message is None else (message[1], message[2])

    def _trim(self, stream) -> None:
        """Forget values that were not used lately, and can be read."""
        applied = stream.state.messages.last
        while len(self._values) > VALUES_KEPT and next(iter(self._values.values()))[0] <= applied:
            self._values.popitem(last=False)
