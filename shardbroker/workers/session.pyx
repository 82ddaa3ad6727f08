"""What a client's commands do: the Sink of its parser.

One Session serves all clients of a worker; `client` is set before each feed. Order of checks and texts of
errors are nats-server's (processConnect, processSub, processInboundClientMsg of 2.15, compared by
tests/conformance). The publish path makes no Python object; the others may.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from shardbroker.hashing cimport hash_bytes
from shardbroker.protocol.constants cimport (
    ERROR_CONTROL_LINE,
    ERROR_MAX_PAYLOAD,
    ERROR_UNKNOWN_OPERATION,
    PARK,
    PROCEED,
    STOP,
)
from shardbroker.protocol.parser cimport Parser
from shardbroker.protocol.sink cimport Sink
from shardbroker.routing.delivery_target cimport (
    SUBSCRIPTION_LIMITED,
    SUBSCRIPTION_LINGERING,
    SUBSCRIPTION_REMOVED,
    DeliveryTarget,
    Subscription,
    subscription_queue,
    subscription_subject,
)
from shardbroker.routing.router cimport BACK_PRESSURED, Router, RouterOwner
from shardbroker.same_bytes cimport same_bytes
from shardbroker.shm.atomics cimport monotonic_ns
from shardbroker.subjects.subject cimport count_tokens, is_publishable, is_subscribable
from shardbroker.subjects.sublist cimport Sublist
from shardbroker.workers.client cimport (
    CLOSING_FLUSH,
    PARKED_LEAVING,
    PARKED_RING_FULL,
    Client,
    client_add,
    client_find,
    client_remove,
    subscription_new,
)
from shardbroker.workers.leaving cimport Leave, Leaving
from shardbroker.workers.moving cimport Moving
from shardbroker.workers.services cimport Services

from shardbroker.shm.layout import CLOSE_REASONS

cdef uint16_t REASON_PROTOCOL_VIOLATION = CLOSE_REASONS.index("Protocol Violation")
cdef uint16_t REASON_CONTROL_LINE = CLOSE_REASONS.index("Maximum Control Line Exceeded")
cdef uint16_t REASON_PAYLOAD = CLOSE_REASONS.index("Maximum Message Payload Exceeded")

cdef enum:
    # Output after which it is written in the middle of a parse, and after which a client yields, in bytes
    # with 64 added a message: one read of a megabyte may mean a gigabyte to a thousand subscribers.
    FLUSH_SIZE = 4 << 20
    YIELD_SIZE = 32 << 20
    YIELD_NS = 10_000_000
    # Matching goes down one call a token. More than a control line of 4096 bytes can hold.
    TOKENS_MAX = 4096

cdef bytes OK = b"+OK\r\n"
cdef bytes PONG = b"PONG\r\n"


cdef class Ownership(RouterOwner):
    """The session and its event loop as the router knows them."""

    cdef void on_output_due(self) noexcept:
        self.session.loop.flush_now()

    cdef void on_traced(self, DeliveryTarget *target, const uint8_t *line, uint64_t size) noexcept:
        cdef uint64_t end = 0
        while end < size and line[end] != 13:
            end += 1
        self.session.tracer.outgoing(client_label(<Client *> target), line[:end])

    cdef bint on_service(
        self, Subscription *subscription, PublishView *view, DeliveryTarget *publisher
    ) noexcept:
        return self.session.services.take(subscription.target, view, publisher)

    cdef void on_exhausted(self, Subscription *subscription) noexcept:
        # A lingering one (UNSUB while frames were under way) is out of everything but the sublist already;
        # the leave ends it. deliver() gives it no message beyond its max.
        if not subscription.flags & (SUBSCRIPTION_LINGERING | SUBSCRIPTION_REMOVED):
            self.session.unsubscribe(subscription, False)


cdef class Session(Sink):
    """Executes the commands of one worker's clients."""

    def __cinit__(
        self, Router router, Leaving leaving, Moving moving, greeter, tracer, uint64_t seed, options
    ):
        cdef Ownership ownership = Ownership()
        self.router = router
        self.routes = router.routes
        self.directory = router.routes.directory
        self.leaving = leaving
        self.moving = moving
        self.greeter = greeter
        self.seed = seed
        self.subscriptions_max = options.max_subscriptions
        self.subject_tokens_max = options.max_sub_tokens
        self.tracer = tracer
        self.tracing = router.tracing = tracer is not None
        self.services = Services()
        ownership.session = self
        router.set_owner(ownership)

    def __dealloc__(self):
        self.free_removed()
        free(self.normal)

    def set_services(self, Services services):
        """Give messages for services to these: JetStream."""
        self.services = services

    def set_gap(self, gap):
        """See routing/gap.pyx."""
        self.router.set_gap(gap)

    # --- bounds of one turn -----------------------------------------------------------------------------

    cdef void mark_output(self) noexcept:
        """Output is being written: count from here to the next flush."""
        self.flush_at_size = self.router.flush_at_size = self.router.output_size + FLUSH_SIZE

    cdef void begin_parse(self) noexcept:
        """A client's input begins: count its output and time from here."""
        self.yield_at_size = self.router.output_size + YIELD_SIZE
        self.yield_at_ns = 0
        self.operations = 0
        self.published_count = self.published_size = 0

    cdef void end_parse(self, Client *client) noexcept:
        """The client's input is executed or put aside: bring its messages into the figures."""
        client.target.row.in_msgs += self.published_count
        client.target.row.in_bytes += self.published_size
        self.router.statistics.in_msgs += self.published_count
        self.router.statistics.in_bytes += self.published_size

    cdef bint must_yield(self, Client *client) noexcept:
        """Whether this client's SUBs and UNSUBs took so long that others must get their turn."""
        cdef uint64_t now
        self.operations += 1
        if self.operations & 63:
            return False
        now = monotonic_ns()
        if self.yield_at_ns == 0:
            self.yield_at_ns = now + YIELD_NS
        elif now > self.yield_at_ns:
            client.yielded = 1
            return True
        return False

    # --- answers ----------------------------------------------------------------------------------------

    cdef void trace(self, Client *client, Parser parser, bytes name) noexcept:
        """Log an operation of the client; only when tracing."""
        label = client_label(client)
        line = parser.data[parser.op_start : parser.op_end]
        if name == b"PUB" or name == b"HPUB":
            payload = line[parser.payload_start - parser.op_start : -2]
            self.tracer.incoming(label, line[: parser.payload_start - parser.op_start].rstrip())
            self.tracer.payload(label, payload)
        else:
            self.tracer.incoming(label, line.rstrip())

    cdef void say(self, Client *client, bytes text) noexcept:
        if self.tracing:
            self.tracer.outgoing(client_label(client), text)
        self.router.append(&client.target, <const uint8_t *> <const char *> text, len(text))

    cdef void refuse(self, Client *client, bytes text) noexcept:
        """-ERR, and the connection stays open."""
        self.say(client, b"-ERR '" + text + b"'\r\n")

    cdef void fail(self, Client *client, bytes text, uint16_t reason) noexcept:
        """-ERR, then close."""
        self.refuse(client, text)
        client.closing = CLOSING_FLUSH
        client.reason = reason

    cdef void close_silently(self, Client *client, uint16_t reason) noexcept:
        """Close after what is pending was written, without an -ERR."""
        client.closing = CLOSING_FLUSH
        client.reason = reason

    cdef void answer_parse_error(self, Client *client, int error) noexcept:
        """What the parser found wrong, in nats-server's words; senseless arguments close silently."""
        self.router.statistics.protocol_errors += 1
        if error == ERROR_UNKNOWN_OPERATION:
            self.fail(client, b"Unknown Protocol Operation", REASON_PROTOCOL_VIOLATION)
        elif error == ERROR_CONTROL_LINE:
            self.fail(client, b"maximum control line exceeded", REASON_CONTROL_LINE)
        elif error == ERROR_MAX_PAYLOAD:
            self.fail(client, b"Maximum Payload Violation", REASON_PAYLOAD)
        else:
            self.close_silently(client, REASON_PROTOCOL_VIOLATION)

    # --- PUB, HPUB --------------------------------------------------------------------------------------

    cdef int on_publish(self, Parser parser) except -1:
        """Deliver one message; PARK while the own ring is full."""
        cdef Client *client = self.client
        cdef PublishView *view = &self.view
        cdef const uint8_t *data = parser.data
        cdef uint8_t first
        cdef int outcome
        view.subject = data + parser.subject_start
        view.subject_size = <uint32_t> (parser.subject_end - parser.subject_start)
        view.reply = data + parser.reply_start
        view.reply_size = <uint32_t> (parser.reply_end - parser.reply_start)
        view.header_size = <int32_t> parser.header_size
        view.payload_size = <uint32_t> parser.total_size
        view.payload = data + parser.payload_start
        view.account = client.target.account
        view.publisher = <uint32_t> client.target.cid
        view.hash = 0
        if self.router.output_size > self.flush_at_size:
            # A wide fan-out makes far more output than input: write it in between.
            self.loop.flush_now()
            if client.target.closed:
                return STOP
            if self.router.output_size > self.yield_at_size:
                client.yielded = 1
                return PARK
        # Rare things are told apart by one test each, so that the common message pays two.
        first = view.subject[0]
        if first == 36 or first == 95 or view.reply_size or client.careful:
            if not client.executed:
                if self.moving.wants_to_move(client, view.subject, view.subject_size):
                    return PARK
                client.executed = 1
                client.careful = client.verbose or client.pedantic
            if self.refuse_publish(client, parser):
                return PROCEED
        if parser.canonical and parser.header_size != 0:
            view.tail = data + parser.subject_end + 1
            view.tail_size = parser.op_end - parser.subject_end - 1
        else:
            self.normalise(parser)
        outcome = self.router.publish(view, &client.target)
        if outcome == BACK_PRESSURED:
            client.parked |= PARKED_RING_FULL
            return PARK
        client.publish_answered = 0
        self.published_count += 1
        self.published_size += view.payload_size
        if client.target.closed:
            return STOP  # by a flush in the middle of a wide fan-out
        if self.tracing:
            self.trace(client, parser, b"PUB")
        elif parser.canonical and not client.careful:
            self.run_ahead(client, parser)
        return PROCEED

    cdef void run_ahead(self, Client *client, Parser parser) noexcept:
        """Publish what follows as long as it has the same control line: the usual burst on one subject.

        Such a message differs from the one before in its payload only, so nothing of it is parsed or checked
        again but the CR LF behind the payload. What is not exactly so is left to the parser.
        """
        cdef PublishView *view = &self.view
        cdef const uint8_t *data = parser.data
        cdef const uint8_t *line = data + parser.op_start
        cdef uint32_t line_size = <uint32_t> (parser.payload_start - parser.op_start)
        cdef Py_ssize_t op_size = parser.op_end - parser.op_start
        cdef Py_ssize_t at = parser.op_end
        cdef Py_ssize_t end = self.input_end - data
        cdef uint64_t count = 0
        while at + op_size <= end and same_bytes(data + at, line, line_size):
            if data[at + op_size - 2] != 13 or data[at + op_size - 1] != 10:
                break
            if self.router.output_size > self.flush_at_size:
                break
            view.subject += op_size
            view.reply += op_size
            view.tail += op_size
            view.payload += op_size
            if self.router.publish(view, &client.target) == BACK_PRESSURED:
                break
            at += op_size
            count += 1
            if client.target.closed:
                break
        parser.op_end = at
        self.published_count += count
        self.published_size += count * view.payload_size

    cdef int refuse_publish(self, Client *client, Parser parser) except -1:
        """Checks that few messages need, and the +OK of verbose clients; 1 when the message is refused.

        A parked message comes here again: what was answered once is not answered twice.
        """
        cdef PublishView *view = &self.view
        cdef const uint8_t *subject = view.subject
        if client.publish_answered:
            return 0
        if client.pedantic and not is_publishable(subject, view.subject_size):
            self.refuse(client, b"Invalid Publish Subject")
        if (
            (view.subject_size > 5 and starts_with(subject, view.subject_size, b"_GR_.", 5))
            or (view.subject_size > 4 and starts_with(subject, view.subject_size, b"$GR.", 4))
            or starts_with(subject, view.subject_size, b"$NRG.", 5)
        ):
            self.refuse(
                client, b'Permissions Violation for Publish to "' + subject[: view.subject_size] + b'"'
            )
        elif view.reply_size and (
            starts_with(view.reply, view.reply_size, b"_R_.", 4)
            or (starts_with(view.reply, view.reply_size, b"$JS.ACK.", 8) and view.reply_size > 8)
            or (starts_with(view.reply, view.reply_size, b"_GR_.", 5) and view.reply_size > 5)
            or (starts_with(view.reply, view.reply_size, b"$GR.", 4) and view.reply_size > 4)
        ):
            self.refuse(
                client,
                b'Permissions Violation for Publish with Reply of "' + view.reply[: view.reply_size] + b'"',
            )
        else:
            if client.verbose:
                self.say(client, OK)
            client.publish_answered = 1
            return 0
        self.published_count += 1
        self.published_size += view.payload_size
        return 1

    cdef int normalise(self, Parser parser) except -1:
        """Build the tail `[reply ]sizes CRLF payload CRLF` of a PUB with irregular whitespace."""
        cdef PublishView *view = &self.view
        cdef uint64_t need = parser.op_end - parser.op_start + 8, header_text, size_text
        cdef uint8_t *out
        if need > self.normal_capacity:
            out = <uint8_t *> realloc(self.normal, need)
            if out == NULL:
                raise MemoryError("no memory for a message of %d bytes" % need)
            self.normal = out
            self.normal_capacity = need
        out = self.normal
        if view.reply_size:
            memcpy(out, view.reply, view.reply_size)
            out[view.reply_size] = 32
            out += view.reply_size + 1
        header_text = parser.header_text_end - parser.header_text_start
        if parser.header_size == 0:
            # An HPUB with an empty header block is delivered as a plain message (nats-server does).
            header_text = 0
            view.header_size = -1
        if header_text:
            memcpy(out, parser.data + parser.header_text_start, header_text)
            out[header_text] = 32
            out += header_text + 1
        size_text = parser.size_text_end - parser.size_text_start
        memcpy(out, parser.data + parser.size_text_start, size_text)
        out += size_text
        out[0] = 13
        out[1] = 10
        memcpy(out + 2, view.payload, view.payload_size)
        out += 2 + view.payload_size
        out[0] = 13
        out[1] = 10
        view.tail = self.normal
        view.tail_size = out + 2 - self.normal
        return 0

    # --- SUB, UNSUB -------------------------------------------------------------------------------------

    cdef int on_subscribe(self, Parser parser) except -1:
        """Insert here, then tell the other workers; only then may a byte of an answer leave."""
        cdef Client *client = self.client
        cdef const uint8_t *subject = parser.data + parser.subject_start
        cdef const uint8_t *queue = parser.data + parser.queue_start
        cdef const uint8_t *sid = parser.data + parser.sid_start
        cdef uint32_t subject_size = <uint32_t> (parser.subject_end - parser.subject_start)
        cdef uint32_t queue_size = <uint32_t> (parser.queue_end - parser.queue_start)
        cdef uint32_t sid_size = <uint32_t> (parser.sid_end - parser.sid_start)
        cdef Subscription *subscription
        cdef Sublist sublist
        cdef uint64_t queue_hash = 0
        cdef Py_ssize_t tokens
        if client.target.closed:
            return STOP
        if self.must_yield(client):
            return PARK
        if not client.executed:
            if self.moving.wants_to_move(client, subject, subject_size) or self.moving.looks_ahead(
                client, parser.data + parser.op_end, self.input_end
            ):
                return PARK
            client.executed = 1
        if queue_size == 5 and memcmp(queue, b"_sys_", 5) == 0:
            self.refuse(
                client,
                b'Permissions Violation for Subscription to "'
                + subject[:subject_size]
                + b'" using queue "_sys_"',
            )
            return PROCEED
        tokens = count_tokens(subject, subject_size)
        if tokens > TOKENS_MAX or (self.subject_tokens_max and tokens > self.subject_tokens_max):
            self.refuse(
                client,
                b'Permissions Violation for Subscription to "'
                + subject[:subject_size]
                + b'", too many tokens',
            )
            return PROCEED
        if self.subscriptions_max and client.sid_count >= self.subscriptions_max:
            self.refuse(client, b"maximum subscriptions exceeded")
            return PROCEED
        if self.tracing:
            self.trace(client, parser, b"SUB")
        if client_find(client, sid, sid_size) == NULL:
            if not is_subscribable(subject, subject_size):
                self.refuse(client, b"Invalid Subject")
                return PROCEED
            subscription = subscription_new(subject, subject_size, queue, queue_size, sid, sid_size)
            if subscription == NULL:
                raise MemoryError("no memory for a subscription")
            subscription.target = &client.target
            if queue_size:
                subscription.queue_id = hash_bytes(queue, queue_size, self.seed) | 1
                queue_hash = self.directory.queue_hash_of(queue, queue_size)
            sublist = self.routes.sublist(client.target.account)
            try:
                sublist.insert(subject, subject_size, subscription.queue_id, &subscription.item)
            except MemoryError:
                free(subscription)
                self.refuse(client, b"maximum subscriptions exceeded")
                return PROCEED
            try:
                self.directory.change(client.target.account, subject, subject_size, queue_hash, False, 1)
            except MemoryError:
                # Shared memory is full (docs/operating: --shm-size): refuse this one, keep the rest.
                sublist.remove(subject, subject_size, subscription.queue_id, &subscription.item)
                free(subscription)
                self.refuse(client, b"maximum subscriptions exceeded")
                return PROCEED
            if client_add(client, subscription) < 0:
                raise MemoryError("no memory for the subscriptions of a client")
            self.routes.next_epoch()
            client.target.row.subscriptions += 1
            self.router.statistics.subscriptions += 1
        if client.verbose:
            self.say(client, OK)
        return PROCEED

    cdef int on_unsubscribe(self, Parser parser) except -1:
        """Remove now, or after `max_messages` in total."""
        cdef Client *client = self.client
        cdef Subscription *subscription = client_find(
            client, parser.data + parser.sid_start, <uint32_t> (parser.sid_end - parser.sid_start)
        )
        if self.must_yield(client):
            return PARK
        if self.tracing:
            self.trace(client, parser, b"UNSUB")
        if subscription != NULL:
            if parser.max_messages > 0 and <uint64_t> parser.max_messages > subscription.delivered:
                self.limit(subscription, parser.max_messages)
            else:
                self.unsubscribe(subscription, True)
                if client.parked & PARKED_LEAVING:
                    client.leave_verbose = client.verbose
                    return STOP
        if client.verbose:
            self.say(client, OK)
        return PROCEED

    cdef void limit(self, Subscription *subscription, uint64_t max_messages) noexcept:
        """Give a subscription its UNSUB max. A queue member changes into one that others choose last."""
        cdef uint64_t queue_hash
        subscription.max_messages = max_messages
        if subscription.queue_id == 0 or subscription.flags & SUBSCRIPTION_LIMITED:
            return
        queue_hash = self.directory.queue_hash_of(subscription_queue(subscription), subscription.queue_size)
        try:
            self.directory.change(
                subscription.target.account,
                subscription_subject(subscription),
                subscription.subject_size,
                queue_hash,
                True,
                1,
            )
            self.directory.change(
                subscription.target.account,
                subscription_subject(subscription),
                subscription.subject_size,
                queue_hash,
                False,
                -1,
            )
            subscription.flags |= SUBSCRIPTION_LIMITED
        except MemoryError:
            pass  # it stays counted as an unlimited one: fairness suffers, nothing else
        self.routes.next_epoch()

    cdef void unsubscribe(self, Subscription *subscription, bint wait) noexcept:
        """Take a subscription out of everything; its memory goes at the end of the turn.

        With `wait` (an UNSUB command) a queue member lingers until no other worker can still have chosen
        it; the client is parked meanwhile.
        """
        cdef Client *client = <Client *> subscription.target
        cdef uint64_t queue_hash = 0
        client_remove(client, subscription)
        client.target.row.subscriptions -= 1
        self.router.statistics.subscriptions -= 1
        if subscription.queue_id:
            queue_hash = self.directory.queue_hash_of(
                subscription_queue(subscription), subscription.queue_size
            )
        if wait and subscription.queue_id and self.leaving.worker_count > 1:
            subscription.flags |= SUBSCRIPTION_LINGERING
        try:
            self.directory.change(
                subscription.target.account,
                subscription_subject(subscription),
                subscription.subject_size,
                queue_hash,
                (subscription.flags & SUBSCRIPTION_LIMITED) != 0,
                -1,
            )
        except BaseException as error:
            # Removal needs no memory: this is a bug of ours, and the worker must not go on with it.
            self.failure = error
        self.routes.next_epoch()
        if subscription.flags & SUBSCRIPTION_LINGERING and self.leaving.begin(client, subscription):
            client.parked |= PARKED_LEAVING
            self.router.statistics.queue_unsub_waits += 1
            return
        self.retire(subscription)

    cdef void retire(self, Subscription *subscription) noexcept:
        """The last step of a removal: out of the sublist, memory to the end of the turn."""
        cdef Sublist sublist = self.routes.sublist(subscription.target.account)
        sublist.remove(
            subscription_subject(subscription),
            subscription.subject_size,
            subscription.queue_id,
            &subscription.item,
        )
        subscription.flags |= SUBSCRIPTION_REMOVED
        subscription.next_removed = self.removed
        self.removed = subscription

    cdef void drop_all(self, Client *client) noexcept:
        """Remove every subscription of a client that closes or connects anew."""
        cdef uint32_t i
        cdef Subscription *lingering = self.leaving.forget_client(client)
        if lingering != NULL:
            self.retire(lingering)
            self.routes.generation += 1
            self.routes.next_epoch()
        while client.sid_count:
            for i in range(client.sid_capacity):
                if i & 4095 == 4095:
                    self.loop.beat()
                if <size_t> client.sids[i] > 1:
                    self.unsubscribe(client.sids[i], False)
                    if client.sid_count == 0:
                        break

    cdef Client *finish_leave(self) noexcept:
        """End one leave that waits for nobody any more; its client (to be parsed again), or NULL for none.

        To be called after a ticket round that followed Leaving.look.
        """
        cdef Leave *leave
        cdef Client *client
        while True:
            leave = self.leaving.take_ready()
            if leave == NULL:
                return NULL
            client = leave.client
            if client != NULL:
                self.retire(leave.subscription)
                # Routes still hold the lingering member, and no version changed: rebuild them.
                self.routes.generation += 1
                self.routes.next_epoch()
                client.parked &= ~PARKED_LEAVING
                if client.leave_verbose:
                    client.leave_verbose = 0
                    self.say(client, OK)
            free(leave)
            if client != NULL:
                return client

    cdef void free_removed(self) noexcept:
        """Free what was removed this turn: no route that is in use points at it any more."""
        cdef Subscription *subscription
        while self.removed != NULL:
            subscription = self.removed
            self.removed = subscription.next_removed
            free(subscription)

    # --- CONNECT, PING and the rest ---------------------------------------------------------------------

    cdef int on_connect(self, Parser parser) except -1:
        """Read the options; the greeter decides (and, with accounts, authenticates)."""
        cdef Client *client = self.client
        cdef bytes argument = parser.data[parser.argument_start : parser.argument_end]
        if self.tracing:
            self.trace(client, parser, b"CONNECT")
        decision = self.greeter.connect(client.target.cid, argument)
        if decision.options is None:
            self.close_silently(client, REASON_PROTOCOL_VIOLATION)
            return STOP
        options = decision.options
        if client.connect_received:
            self.drop_all(client)
        client.connect_received = 1
        client.connect_deadline_ns = 0
        client.verbose = options.verbose
        client.pedantic = options.pedantic
        client.careful = client.verbose or client.pedantic or not client.executed
        client.protocol = options.protocol & 1
        client.target.echo = options.echo
        client.target.headers = decision.headers
        client.target.no_responders = options.no_responders and decision.headers
        parser.headers_supported = decision.headers
        client.target.row.connected = 1
        copy_text(client.target.row.name, 256, options.name)
        copy_text(client.target.row.lang, 32, options.lang)
        copy_text(client.target.row.version, 32, options.version)
        if decision.error is not None:
            self.fail(client, decision.error, decision.reason)
            return STOP
        if client.verbose:
            self.say(client, OK)
        return PROCEED

    cdef int on_ping(self, Parser parser) except -1:
        """PONG; after the first PING that follows CONNECT also the second INFO."""
        cdef Client *client = self.client
        if self.tracing:
            self.trace(client, parser, b"PING")
        self.say(client, PONG)
        if client.connect_received and not client.first_pong_sent:
            client.first_pong_sent = 1
            if client.protocol:
                ip = (<bytes> client.target.row.ip).decode()
                self.say(client, self.greeter.info(client.target.cid, ip, True))
        return PROCEED

    cdef int on_pong(self, Parser parser) except -1:
        """The answer to our PING: measures the round trip."""
        cdef Client *client = self.client
        if self.tracing:
            self.trace(client, parser, b"PONG")
        client.pings_outstanding = 0
        if client.ping_sent_ns:
            client.target.row.rtt_ns = max(self.now_ns - client.ping_sent_ns, <uint64_t> 1)
            client.ping_sent_ns = 0
        return PROCEED

    cdef int on_info(self, Parser parser) except -1:
        """A client may send INFO; nats-server ignores a JSON object and closes on anything else."""
        if not self.greeter.is_acceptable_info(parser.data[parser.argument_start : parser.argument_end]):
            self.close_silently(self.client, REASON_PROTOCOL_VIOLATION)
            return STOP
        return PROCEED

    cdef int on_ok(self, Parser parser) except -1:
        return PROCEED

    cdef int on_client_error(self, Parser parser) except -1:
        """A client that sends -ERR is disconnected without a word."""
        self.client.closing = CLOSING_FLUSH
        self.client.reason = REASON_PROTOCOL_VIOLATION
        return STOP


cdef str client_label(Client *client):
    """How the log names a connection: address and CID."""
    ip = (<bytes> client.target.row.ip).decode()
    return f"{ip}:{client.target.row.port} - cid:{client.target.cid}"


cdef inline bint starts_with(
    const uint8_t *text, uint32_t size, const char *prefix, uint32_t prefix_size
) noexcept:
    return size >= prefix_size and memcmp(text, prefix, prefix_size) == 0


cdef int copy_text(char *field, int size, str text) except -1:
    """A NUL-padded copy into a field of the connection table, cut at a character."""
    cdef bytes raw = text.encode("utf-8", "replace")[: size - 1]
    cdef int i
    raw = raw.decode("utf-8", "ignore").encode()
    for i in range(size):
        field[i] = 0
    memcpy(field, <const char *> raw, len(raw))
    return 0
