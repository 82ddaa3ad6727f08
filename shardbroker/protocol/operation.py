"""One operation as ranges in the receive buffer, and the reading of its argument.

``parser.py`` finds the argument between the name and the line end; this file takes it apart: words, numbers,
and the rules that depend on nothing but the argument itself. Limits are the parser's.
"""

from shardbroker.protocol.states import ERROR_ARGUMENT, SIZE_DIGITS_MAX

SPACE = 0x20
TAB = 0x09
CR = 0x0D
LF = 0x0A
ZERO = 0x30


class Operation:
    """What a sink reads: ``operation.pxd`` lists the fields and says which operation sets them."""

    def __init__(self):
        self.word1_start = self.word2_start = self.word3_start = self.word4_start = 0
        self.word1_end = self.word2_end = self.word3_end = self.word4_end = 0

    def argument_size(self, start, end):
        """Bytes of the argument whose line feed is (or will at the earliest be) at ``end``.

        nats-server cuts one byte off the end if there is a CR *anywhere* behind the first byte. That is the
        CR of the line end, but for odd input it is the last byte, whatever it is.
        """
        if end - 1 > start and self.data[end - 1] == CR:
            return end - 1 - start
        p = start + 1
        while p < end and self.data[p] != CR:
            p += 1
        return end - start - (p < end)

    def read_publish(self, with_header):
        """``subject [reply] [#hdr] #total``: fields and sizes; the error, or 0."""
        count = self._split(False) - with_header
        if count < 2 or count > 3:
            return ERROR_ARGUMENT
        self.size_text_start = self.word1_start
        self.size_text_end = self.word1_end
        self.total_size = self.number_in(self.word1_start, self.word1_end)
        if with_header:
            self.header_text_start = self.word2_start
            self.header_text_end = self.word2_end
            self.header_size = self.number_in(self.word2_start, self.word2_end)
            if self.header_size < 0 or self.header_size > self.total_size:
                return ERROR_ARGUMENT
            self.word2_start, self.word2_end = self.word3_start, self.word3_end
            self.word3_start, self.word3_end = self.word4_start, self.word4_end
        else:
            self.header_text_start = self.header_text_end = self.word1_start
            self.header_size = -1
        if self.total_size < 0:
            return ERROR_ARGUMENT
        if count == 3:
            self.subject_start, self.subject_end = self.word3_start, self.word3_end
            self.reply_start, self.reply_end = self.word2_start, self.word2_end
        else:
            self.subject_start, self.subject_end = self.word2_start, self.word2_end
            self.reply_start = self.reply_end = self.header_text_start
        self.canonical = self._is_canonical()
        return 0

    def _is_canonical(self):
        """Whether [subject_end + 1, the line's end) holds single spaces only and the line ends in CR LF."""
        texts = (
            (self.reply_end - self.reply_start)
            + (self.reply_end > self.reply_start)
            + (self.header_text_end - self.header_text_start)
            + (self.header_size >= 0)
            + (self.size_text_end - self.size_text_start)
        )
        return (
            self.subject_end + 1 + texts == self.size_text_end
            and self.size_text_end + 2 == self.op_end
            and self.data[self.size_text_end] == CR
            and self.data[self.size_text_start - 1] == SPACE
            and self.data[self.header_text_start - 1] == SPACE
        )

    def read_subscribe(self):
        """``subject [queue] sid``; the error, or 0."""
        count = self._split(True)
        if count < 2 or count > 3:
            return ERROR_ARGUMENT
        self.sid_start, self.sid_end = self.word1_start, self.word1_end
        if count == 3:
            self.queue_start, self.queue_end = self.word2_start, self.word2_end
            self.subject_start, self.subject_end = self.word3_start, self.word3_end
        else:
            self.queue_start = self.queue_end = self.word1_start
            self.subject_start, self.subject_end = self.word2_start, self.word2_end
        return 0

    def read_unsubscribe(self):
        """``sid [max]``; the error, or 0. A max that is no number counts as absent."""
        count = self._split(True)
        if count < 1 or count > 2:
            return ERROR_ARGUMENT
        self.sid_start, self.sid_end = self.word1_start, self.word1_end
        self.max_messages = -1
        if count == 2:
            self.sid_start, self.sid_end = self.word2_start, self.word2_end
            self.max_messages = self.number_in(self.word1_start, self.word1_end)
        return 0

    def _split(self, line_ends_are_blanks):
        """Find the words of the argument and keep the last four; their count, or -1.

        SUB and UNSUB take a CR or LF inside the argument for a blank. Elsewhere it is refused (see the top).
        """
        count = 0
        inside = False
        for p in range(self.argument_start, self.argument_end):
            byte = self.data[p]
            if byte > SPACE:
                blank = False
            elif byte in (CR, LF):
                if not line_ends_are_blanks:
                    return -1
                blank = True
            else:
                blank = byte in (SPACE, TAB)
            if blank == inside:
                if blank:
                    self.word1_end = p
                else:
                    self.word4_start, self.word4_end = self.word3_start, self.word3_end
                    self.word3_start, self.word3_end = self.word2_start, self.word2_end
                    self.word2_start, self.word2_end = self.word1_start, self.word1_end
                    self.word1_start = p
                    count += 1
                inside = not blank
        if inside:
            self.word1_end = self.argument_end
        return count

    def number_in(self, start, end):
        """The value of a run of digits; -1 if it is empty, too long or holds anything else."""
        if end == start or end - start > SIZE_DIGITS_MAX:
            return -1
        number = 0
        for p in range(start, end):
            digit = self.data[p] - ZERO
            if digit < 0 or digit > 9:
                return -1
            number = number * 10 + digit
        return number
