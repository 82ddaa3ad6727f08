# For tests and tools: recording_sink.py says what each record holds.

from shardbroker.protocol.parser cimport Parser
from shardbroker.protocol.sink cimport Sink


cdef class RecordingSink(Sink):
    cdef public list records  # tuples: the name of the operation, then its parts
    cdef public list answers  # what the next calls answer; PROCEED when it is empty

    cdef bytes _range(self, Parser parser, Py_ssize_t start, Py_ssize_t end)
    cdef int _record(self, tuple record) except -1

    cdef int on_publish(self, Parser parser) except -1
    cdef int on_subscribe(self, Parser parser) except -1
    cdef int on_unsubscribe(self, Parser parser) except -1
    cdef int on_connect(self, Parser parser) except -1
    cdef int on_ping(self, Parser parser) except -1
    cdef int on_pong(self, Parser parser) except -1
    cdef int on_info(self, Parser parser) except -1
    cdef int on_ok(self, Parser parser) except -1
    cdef int on_client_error(self, Parser parser) except -1
