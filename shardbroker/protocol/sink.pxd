# What a parser calls. Cython code derives from Sink and overrides with `cdef int on_...`.
#
# Each call describes one operation by ranges in `parser.data`. DANGER: that memory is the caller's receive
# buffer. The ranges hold until the callback returns, not longer: copy what must live on.
#
# Answer PROCEED, PARK or STOP (constants.pxd), or -1 with a Python exception set, which leaves feed at once.

from shardbroker.protocol.parser cimport Parser


cdef class Sink:
    cdef int on_publish(self, Parser parser) except -1       # PUB and HPUB (header_size >= 0)
    cdef int on_subscribe(self, Parser parser) except -1     # SUB
    cdef int on_unsubscribe(self, Parser parser) except -1   # UNSUB
    cdef int on_connect(self, Parser parser) except -1       # CONNECT; the argument is not parsed yet
    cdef int on_ping(self, Parser parser) except -1          # PING
    cdef int on_pong(self, Parser parser) except -1          # PONG
    cdef int on_info(self, Parser parser) except -1          # INFO; see server_info.is_acceptable_info
    cdef int on_ok(self, Parser parser) except -1            # +OK
    cdef int on_client_error(self, Parser parser) except -1  # -ERR; nats-server closes without a word
