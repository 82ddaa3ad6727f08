"""Request and reply: users call a service that all users of all processes serve together, as one queue group.

The answer must repeat the request's content. A "no responders" status is a failure: every user joins the
service before its first request, so there is always somebody. A leaving responder unsubscribes and serves
what had been sent to it until the server's PONG.

    locust -f loadtests/locustfiles/request_reply.py --headless -u 50 -r 50 -t 30s
"""

import time

from locust import task

from loadtests.nats_user import Message, NatsError, NatsUser


class RequestReplyUser(NatsUser):
    """One responder connection in the shared service, one requester connection with one request in flight."""

    def on_start(self) -> None:
        self.subject = f"{self.prefix}.request_reply.service"
        self.sequence = 0
        self.responder = self.connect("responder")
        self.service = self.responder.subscribe(self.subject, self.serve, queue="service")
        self.responder.flush()
        self.requester = self.connect("requester")

    @task
    def call(self) -> None:
        self.sequence += 1
        payload = self.payload(self.sequence)
        start = time.perf_counter()
        problem = None
        try:
            answer = self.requester.request(self.subject, payload)
            if answer.is_no_responders:
                problem = NatsError("no responders")
            elif answer.payload != b"answer " + payload:
                problem = NatsError("the answer belongs to another request")
        except NatsError as error:
            problem = error
        self.report("REQUEST", "request to answer", start, len(payload), problem)

    def serve(self, message: Message) -> None:
        self.responder.publish(message.reply, b"answer " + message.payload)

    def on_stop(self) -> None:
        try:
            self.requester.flush()  # Our last request must be handed out before the last responder may leave.
            self.responder.unsubscribe(self.service)
            self.responder.flush()
        except NatsError:
            pass  # The connection is gone, and with it the subscription.
        super().on_stop()
