"""What a client's commands do: the Sink of its parser."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shardbroker.protocol.parser cimport Parser
from shardbroker.protocol.sink cimport Sink
from shardbroker.routing.delivery_target cimport Subscription
from shardbroker.routing.route_cache cimport RouteCache
from shardbroker.routing.router cimport PublishView, Router, RouterOwner
from shardbroker.shm.interest_directory cimport InterestDirectory
from shardbroker.workers.client cimport Client
from shardbroker.workers.leaving cimport Leaving
from shardbroker.workers.loop_port cimport LoopPort
from shardbroker.workers.moving cimport Moving
from shardbroker.workers.services cimport Services

@cython.final
cdef class Session(Sink):
    cdef Router router
    cdef RouteCache routes
    cdef InterestDirectory directory
    cdef Leaving leaving
    cdef Moving moving
    cdef Services services
    cdef LoopPort loop
    cdef uint64_t flush_at_size  # Router.output_size at which output is written in the middle of a parse
    cdef uint64_t yield_at_size  # Router.output_size at which the client yields
    cdef uint64_t yield_at_ns
    cdef uint32_t operations  # SUB and UNSUB since the clock was read
    cdef const uint8_t *input_end  # behind the bytes being parsed
    cdef public object failure  # an exception where none may pass: the worker ends with it
    cdef object tracer  # workers/trace.py, or None
    cdef bint tracing
    cdef object greeter  # workers/handshake.py: INFO lines and CONNECT
    cdef Client *client  # whose input is being parsed
    cdef PublishView view
    cdef uint64_t published_count  # messages of this parse, not yet in the figures
    cdef uint64_t published_size
    cdef Subscription *removed  # chain: memory to free at the end of the turn
    cdef uint64_t seed
    cdef uint64_t now_ns
    cdef uint32_t subscriptions_max  # per connection, 0: no limit
    cdef uint32_t subject_tokens_max  # 0: no limit
    cdef uint8_t *normal  # scratch for tails whose whitespace is normalised
    cdef uint64_t normal_capacity

    cdef void mark_output(self) noexcept
    cdef void begin_parse(self) noexcept
    cdef void end_parse(self, Client *client) noexcept
    cdef bint must_yield(self, Client *client) noexcept
    cdef void trace(self, Client *client, Parser parser, bytes name) noexcept
    cdef void say(self, Client *client, bytes text) noexcept
    cdef void refuse(self, Client *client, bytes text) noexcept
    cdef void fail(self, Client *client, bytes text, uint16_t reason) noexcept
    cdef void close_silently(self, Client *client, uint16_t reason) noexcept
    cdef void run_ahead(self, Client *client, Parser parser) noexcept
    cdef int normalise(self, Parser parser) except -1
    cdef int refuse_publish(self, Client *client, Parser parser) except -1
    cdef void unsubscribe(self, Subscription *subscription, bint wait) noexcept
    cdef void retire(self, Subscription *subscription) noexcept
    cdef void limit(self, Subscription *subscription, uint64_t max_messages) noexcept
    cdef void drop_all(self, Client *client) noexcept
    cdef Client *finish_leave(self) noexcept
    cdef void free_removed(self) noexcept
    cdef void answer_parse_error(self, Client *client, int error) noexcept

cdef str client_label(Client *client)
cdef int copy_text(char *field, int size, str text) except -1

cdef class Ownership(RouterOwner):
    cdef Session session
