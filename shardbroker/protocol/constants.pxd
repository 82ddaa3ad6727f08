# Numbers of states.py which Cython code needs at compile time. This header has no module: cimport it.
# tests/protocol/test_states.py checks that both files agree.

# What a sink answers.
cdef enum:
    PROCEED = 0  # go on with the next operation
    PARK = 1     # keep this operation: feed returns its start, and offers it again next time
    STOP = 2     # this operation is done, but return from feed at once

# Parser.error.
cdef enum:
    ERROR_NONE = 0
    ERROR_UNKNOWN_OPERATION = 1    # tell the client "Unknown Protocol Operation", then close
    ERROR_ARGUMENT = 2             # close without a word
    ERROR_CONTROL_LINE = 3         # tell the client "maximum control line exceeded", then close
    ERROR_MAX_PAYLOAD = 4          # tell the client "Maximum Payload Violation", then close
    ERROR_HEADERS_UNSUPPORTED = 5  # close without a word
