# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The fuzzer's inner loop at the speed of C; built on demand by fuzz_parser.py, never installed.

One execution makes an input from a seed, feeds it to a parser in one piece, then to another parser in random
pieces with a sink that parks and stops at random, and demands the same checksum of all records, the same
error and the same unconsumed bytes. Every buffer that a parser sees is allocated with exactly the size it is
told, so that AddressSanitizer reports a read of one byte too many. The sink checks what every record
promises.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from shardbroker.protocol.constants cimport ERROR_NONE, PARK, PROCEED, STOP
from shardbroker.protocol.parser cimport Parser
from shardbroker.protocol.sink cimport Sink

cdef enum:
    INPUT_SIZE_MAX = 1024
    PIECES_MAX = 512


cdef class Chance:
    """A xorshift generator; the same seed gives the same numbers everywhere."""

    cdef uint64_t state

    cdef void seed(self, uint64_t seed) noexcept:
        seed = (seed + <uint64_t> 0x9E3779B97F4A7C15) * <uint64_t> 0xBF58476D1CE4E5B9
        seed = (seed ^ (seed >> 27)) * <uint64_t> 0x94D049BB133111EB
        self.state = (seed ^ (seed >> 31)) | 1

    cdef uint32_t below(self, uint32_t limit) noexcept:
        self.state ^= self.state << 13
        self.state ^= self.state >> 7
        self.state ^= self.state << 17
        return <uint32_t> ((self.state >> 20) % limit)


cdef class CheckingSink(Sink):
    """Checks the promises of each record and adds it to a checksum."""

    cdef Chance chance
    cdef bint restless  # parks and stops at random
    cdef bint interrupted  # the last feed returned because of this sink
    cdef uint64_t checksum
    cdef uint64_t count
    cdef Py_ssize_t start, end  # of the buffer of this feed

    def __cinit__(self, Chance chance):
        self.chance = chance

    cdef void begin(self, bint restless) noexcept:
        self.restless = restless
        self.checksum = 0
        self.count = 0

    cdef bint parks(self) noexcept:
        self.interrupted = self.restless and self.chance.below(6) == 0
        return self.interrupted

    cdef int answer(self) noexcept:
        self.count += 1
        self.interrupted = self.restless and self.chance.below(6) == 0
        return STOP if self.interrupted else PROCEED

    cdef void add(self, uint64_t number) noexcept:
        self.checksum = (self.checksum ^ number) * <uint64_t> 0x100000001B3

    cdef int add_range(self, Parser parser, Py_ssize_t start, Py_ssize_t end, bint word) except -1:
        """Add the bytes of a range; a word is not empty and holds no blank and no line end."""
        cdef Py_ssize_t i
        assert self.start <= parser.op_start <= start <= end <= parser.op_end <= self.end
        self.add(end - start)
        for i in range(start, end):
            self.add(parser.data[i])
            if word:
                assert parser.data[i] not in (9, 10, 13, 32)
        assert not word or start < end
        return 0

    cdef int add_canonical(self, Parser parser) except -1:
        """What may be copied as it is consists of the parts, single spaces and line ends."""
        cdef bytes text = parser.data[parser.subject_end + 1 : parser.op_end]
        cdef list words = []
        if parser.reply_end > parser.reply_start:
            words.append(parser.data[parser.reply_start : parser.reply_end])
        if parser.header_size >= 0:
            words.append(parser.data[parser.header_text_start : parser.header_text_end])
        words.append(parser.data[parser.size_text_start : parser.size_text_end])
        payload = parser.data[parser.payload_start : parser.op_end - 2]
        assert text == b" ".join(words) + b"\r\n" + payload + b"\r\n"
        return 0

    cdef int on_publish(self, Parser parser) except -1:
        if self.parks():
            return PARK
        self.add(1)
        self.add_range(parser, parser.subject_start, parser.subject_end, True)
        self.add_range(parser, parser.reply_start, parser.reply_end, parser.reply_end > parser.reply_start)
        self.add_range(parser, parser.header_text_start, parser.header_text_end, parser.header_size >= 0)
        self.add_range(parser, parser.size_text_start, parser.size_text_end, True)
        self.add_range(parser, parser.payload_start, parser.op_end, False)
        self.add(parser.header_size)
        self.add(parser.canonical)
        assert parser.op_end - 2 - parser.payload_start == parser.total_size <= parser.payload_size_max
        assert parser.data[parser.op_end - 2] == 13 and parser.data[parser.op_end - 1] == 10
        assert -1 <= parser.header_size <= parser.total_size
        assert parser.header_size < 0 or parser.headers_supported
        assert (parser.header_text_end > parser.header_text_start) == (parser.header_size >= 0)
        if parser.canonical and self.chance.below(8) == 0:
            self.add_canonical(parser)
        return self.answer()

    cdef int on_subscribe(self, Parser parser) except -1:
        if self.parks():
            return PARK
        self.add(2)
        self.add_range(parser, parser.subject_start, parser.subject_end, True)
        self.add_range(parser, parser.queue_start, parser.queue_end, parser.queue_end > parser.queue_start)
        self.add_range(parser, parser.sid_start, parser.sid_end, True)
        return self.answer()

    cdef int on_unsubscribe(self, Parser parser) except -1:
        if self.parks():
            return PARK
        self.add(3)
        self.add_range(parser, parser.sid_start, parser.sid_end, True)
        self.add(parser.max_messages)
        assert -1 <= parser.max_messages <= 999_999_999
        return self.answer()

    cdef int line(self, Parser parser, int number, bint with_argument) except -1:
        if self.parks():
            return PARK
        self.add(number)
        assert parser.data[parser.op_end - 1] == 10
        if with_argument:
            self.add_range(parser, parser.argument_start, parser.argument_end, False)
            assert parser.argument_end - parser.argument_start <= parser.control_line_size_max
        return self.answer()

    cdef int on_connect(self, Parser parser) except -1:
        return self.line(parser, 4, True)

    cdef int on_ping(self, Parser parser) except -1:
        return self.line(parser, 5, False)

    cdef int on_pong(self, Parser parser) except -1:
        return self.line(parser, 6, False)

    cdef int on_info(self, Parser parser) except -1:
        return self.line(parser, 7, True)

    cdef int on_ok(self, Parser parser) except -1:
        return self.line(parser, 8, False)

    cdef int on_client_error(self, Parser parser) except -1:
        return self.line(parser, 9, True)


cdef class Driver:
    """Makes inputs from seeds and runs them."""

    cdef list pieces
    cdef bytes letters
    cdef const unsigned char *piece_data[PIECES_MAX]
    cdef Py_ssize_t piece_size[PIECES_MAX]
    cdef uint32_t piece_count
    cdef unsigned char input[INPUT_SIZE_MAX]
    cdef Py_ssize_t input_size
    cdef Chance chance
    cdef CheckingSink sink
    cdef Parser whole, cut

    def __init__(self, pieces, bytes letters):
        self.letters = letters
        self.pieces = list(pieces)[:PIECES_MAX]
        self.piece_count = len(self.pieces)
        for index, piece in enumerate(self.pieces):
            self.piece_data[index] = piece
            self.piece_size[index] = len(piece)
        self.chance = Chance()
        self.sink = CheckingSink(self.chance)
        self.whole = Parser()
        self.cut = Parser()

    def generate(self, uint64_t seed):
        """The input of a seed, as bytes."""
        self.make_input(seed)
        return self.input[: self.input_size]

    def run(self, uint64_t first_seed, uint64_t count):
        """Execute ``count`` seeds; returns the number of operations seen. A failure names its seed."""
        cdef uint64_t seed, operations = 0
        for seed in range(first_seed, first_seed + count):
            try:
                operations += self.execute(seed)
            except BaseException as error:
                error.add_note(f"seed {seed}: {self.generate(seed)!r}")
                raise
        return operations

    cdef void make_input(self, uint64_t seed) noexcept:
        """Some pieces one after the other, then some changes."""
        cdef const unsigned char *letters = self.letters
        cdef uint32_t letters_count = <uint32_t> len(self.letters)
        cdef uint32_t index, number
        cdef Py_ssize_t place, size
        self.chance.seed(seed)
        self.input_size = 0
        for number in range(1 + self.chance.below(4)):
            index = self.chance.below(self.piece_count)
            size = self.piece_size[index]
            if self.input_size + size <= INPUT_SIZE_MAX - 64:
                memcpy(self.input + self.input_size, self.piece_data[index], size)
                self.input_size += size
        for number in range(self.chance.below(4)):
            if self.input_size == 0:
                break
            place = self.chance.below(<uint32_t> self.input_size)
            index = self.chance.below(5)
            if index == 0:
                self.input[place] = letters[self.chance.below(letters_count)]
            elif index == 1:
                self.input[place] = <unsigned char> self.chance.below(256)
            elif index == 2 and self.input_size < INPUT_SIZE_MAX:
                memmove(self.input + place + 1, self.input + place, self.input_size - place)
                self.input[place] = letters[self.chance.below(letters_count)]
                self.input_size += 1
            elif index == 3:
                memmove(self.input + place, self.input + place + 1, self.input_size - place - 1)
                self.input_size -= 1
            elif self.chance.below(3) == 0:
                self.input_size = place

    cdef void prepare(self, Parser parser, uint32_t limits) noexcept:
        parser.reset()
        parser.error = ERROR_NONE
        parser.control_line_size_max = 16 if limits & 7 == 0 else 128
        parser.payload_size_max = 8 * (limits >> 3 & 7) + 8
        parser.headers_supported = limits >> 6 & 7 != 0

    cdef uint64_t execute(self, uint64_t seed) except? 0xFFFFFFFF:
        """One input, both ways; the number of operations in it."""
        cdef uint64_t checksum, count
        cdef uint32_t limits
        cdef Py_ssize_t kept, kept_cut
        self.make_input(seed)
        limits = self.chance.below(512)
        self.prepare(self.whole, limits)
        self.sink.begin(False)
        kept = self.feed_pieces(self.whole, self.input_size)
        checksum, count = self.sink.checksum, self.sink.count
        self.prepare(self.cut, limits)
        self.sink.begin(True)
        kept_cut = self.feed_pieces(self.cut, 1 + self.chance.below(48))
        assert self.sink.count == count, "another number of operations"
        assert self.sink.checksum == checksum, "other records"
        assert self.cut.error == self.whole.error, "another error"
        if self.whole.error == ERROR_NONE:
            assert self.cut.at_boundary() == self.whole.at_boundary()
            assert kept == kept_cut or not self.whole.at_boundary(), "other bytes are kept"
        return count

    cdef Py_ssize_t feed_pieces(self, Parser parser, Py_ssize_t piece_size_max) except -1:
        """Feed the input in pieces of random size up to a maximum; the number of unconsumed bytes."""
        cdef Py_ssize_t kept = 0, given = 0, size, position
        cdef unsigned char *buffer
        while given < self.input_size and parser.error == ERROR_NONE:
            size = piece_size_max
            if size < self.input_size:
                size = 1 + self.chance.below(<uint32_t> size)
            if size > self.input_size - given:
                size = self.input_size - given
            buffer = <unsigned char *> malloc(kept + size)
            if buffer == NULL:
                raise MemoryError
            try:
                # What was kept lies before `given` in the input, too: the parser has changed nothing.
                memcpy(buffer, self.input + given - kept, kept + size)
                position = self.feed(parser, buffer, kept + size)
            finally:
                free(buffer)
            given += size
            kept = kept + size - position
        return kept

    cdef Py_ssize_t feed(self, Parser parser, const unsigned char *buffer, Py_ssize_t size) except -1:
        """Feed until the parser, not the sink, wants more."""
        cdef Py_ssize_t position = 0, before
        self.sink.start, self.sink.end = 0, size
        while True:
            self.sink.interrupted = False
            before = position
            position = parser.feed(buffer, position, size, self.sink)
            assert before <= position <= size
            if not self.sink.interrupted:
                break
        assert parser.error != ERROR_NONE or parser.need == 0 or parser.need > size - position
        return position
