"""The numbers of the parser: its states, what a sink may answer, and the errors it reports.

Theory of operation
-------------------
A command is a name, blanks, an argument and a line end; PUB and HPUB carry a payload as well. Only the name
and the blanks need a state machine: from there on, the place of the next line feed decides. The machine is a
table of one row per state and one column per byte, so the parser takes one load per byte of a name and a
wrong letter is an error at that letter, before the rest of the line has arrived.

    START ─► "P" ─► "PU" ─► "PUB" ─blank─► PUB_SPACE ─other─► PUB_ARGUMENT      likewise HPUB SUB UNSUB -ERR
      │       └──► "PI" ─► "PIN" ───G───► PING_LINE                             likewise PONG +OK
      └──► "C" ─► ... "CONNEC" ──T─────► CONNECT_SPACE ─other─► CONNECT_ARGUMENT   likewise INFO
                                           any byte not named here ─► WRONG

Three facts of nats-server 2.15.1 are visible in the drawing:

- After PING, PONG and +OK everything up to the line feed is skipped, so ``PINGabc\\r\\n`` is a PING.
- CONNECT and INFO need no blank: ``CONNECT{}`` is a CONNECT.
- The first byte after the blanks starts the argument *whatever it is*, a CR or an LF included. So ``SUB \\n``
  is not a line yet, and the line feed belongs to the argument.

States up to LAST_SETTLED end the walk. A state from PUB_SPACE up asks for one more byte; the states after
START are the beginnings of names and have no names of their own.

This file is not compiled (it has no ``.pxd``), so that tests and tools can read the numbers. Cython code
takes those that it needs at compile time from ``constants.pxd``; ``tests/protocol/test_states.py`` compares.
"""

# What a sink answers: go on, keep this operation for the next feed, or take it and return at once.
PROCEED = 0
PARK = 1
STOP = 2

# Why a parser stopped for good. The comment says what the client is to be told before the connection closes.
ERROR_NONE = 0
ERROR_UNKNOWN_OPERATION = 1  # -ERR 'Unknown Protocol Operation'
ERROR_ARGUMENT = 2  # nothing
ERROR_CONTROL_LINE = 3  # -ERR 'maximum control line exceeded'
ERROR_MAX_PAYLOAD = 4  # -ERR 'Maximum Payload Violation'
ERROR_HEADERS_UNSUPPORTED = 5  # nothing

SIZE_DIGITS_MAX = 9  # nats-server: a longer number is no number, leading zeros or not

# Settled: the name is known (or wrong) and the machine has done its work.
WRONG = 1
PUB_ARGUMENT = 2
HPUB_ARGUMENT = 3
SUB_ARGUMENT = 4
UNSUB_ARGUMENT = 5
CONNECT_ARGUMENT = 6
INFO_ARGUMENT = 7
ERROR_ARGUMENT_STATE = 8
PING_LINE = 9
PONG_LINE = 10
OK_LINE = 11
LAST_SETTLED = OK_LINE

# Between the name and the argument, in the order of the argument states.
PUB_SPACE = 12
HPUB_SPACE = 13
SUB_SPACE = 14
UNSUB_SPACE = 15
CONNECT_SPACE = 16
INFO_SPACE = 17
ERROR_SPACE = 18
SPACE_TO_ARGUMENT = PUB_ARGUMENT - PUB_SPACE  # added to a SPACE state it gives the ARGUMENT state

START = 19

_BLANKS = b" \t"

# name, the state its last letter leads to, and whether a blank must follow first.
_NAMES = (
    (b"PUB", PUB_SPACE, True),
    (b"HPUB", HPUB_SPACE, True),
    (b"SUB", SUB_SPACE, True),
    (b"UNSUB", UNSUB_SPACE, True),
    (b"CONNECT", CONNECT_SPACE, False),
    (b"INFO", INFO_SPACE, False),
    (b"-ERR", ERROR_SPACE, True),
    (b"PING", PING_LINE, False),
    (b"PONG", PONG_LINE, False),
    (b"+OK", OK_LINE, False),
)


def _build_transitions() -> bytes:
    """The table: ``table[state * 256 + byte]`` is the next state."""
    numbers = {b"": START}
    rows = {state: bytearray([WRONG]) * 256 for state in range(START + 1)}

    def connect(source: int, letters: bytes, target: int) -> None:
        for letter in letters:
            rows[source][letter] = target

    for name, target, blank_needed in _NAMES:
        steps = [name[:length] for length in range(1, len(name))]
        if blank_needed:
            steps.append(name)
        before = START
        for step in steps:
            if step not in numbers:
                numbers[step] = len(rows)
                rows[len(rows)] = bytearray([WRONG]) * 256
            connect(before, step[-1:].upper() + step[-1:].lower(), numbers[step])
            before = numbers[step]
        connect(before, _BLANKS if blank_needed else name[-1:].upper() + name[-1:].lower(), target)

    for space in range(PUB_SPACE, ERROR_SPACE + 1):
        rows[space] = bytearray([space + SPACE_TO_ARGUMENT]) * 256
        connect(space, _BLANKS, space)
    return b"".join(bytes(rows[state]) for state in sorted(rows))


TRANSITIONS = _build_transitions()
STATES_COUNT = len(TRANSITIONS) // 256

assert LAST_SETTLED + 1 == PUB_SPACE
assert ERROR_SPACE + SPACE_TO_ARGUMENT == ERROR_ARGUMENT_STATE
assert STATES_COUNT <= 256, "a state is stored in one byte"
