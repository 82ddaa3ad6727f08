"""Path -> page. The monitoring server as the acceptor sees it."""

import importlib
import socket
import threading
from collections import Counter
from functools import cached_property

from shardbroker.acceptor.monitor.absent import gatewayz, ipqueuesz, leafz, raftz, routez
from shardbroker.acceptor.monitor.accountz import accountz, accstatz
from shardbroker.acceptor.monitor.connz import connz
from shardbroker.acceptor.monitor.healthz import healthz
from shardbroker.acceptor.monitor.http_server import NOT_FOUND, HttpServer, Request, Respond
from shardbroker.acceptor.monitor.index import index
from shardbroker.acceptor.monitor.jsz import jsz
from shardbroker.acceptor.monitor.page import BadArgument, text_page
from shardbroker.acceptor.monitor.processes import Processes
from shardbroker.acceptor.monitor.shardz import shardz
from shardbroker.acceptor.monitor.subsz import subsz
from shardbroker.acceptor.monitor.varz import varz
from shardbroker.acceptor.monitor.writer_rates import WriterRates

_PAGES = {
    "/": index,
    "/varz": varz,
    "/connz": connz,
    "/routez": routez,
    "/gatewayz": gatewayz,
    "/leafz": leafz,
    "/subsz": subsz,
    "/subscriptionsz": subsz,
    "/accountz": accountz,
    "/accstatz": accstatz,
    "/jsz": jsz,
    "/healthz": healthz,
    "/ipqueuesz": ipqueuesz,
    "/raftz": raftz,
    "/shardz": shardz,
}
#: nats-server does not count these, and counts an alias under the page's own name.
_UNCOUNTED = ("/ipqueuesz", "/raftz")
_ALIASES = {"/subscriptionsz": "/subsz"}
_WARM_UP_DELAY_S = 1.0
#: More new clients than this in that time: not now.
_WARM_UP_ACCEPTS_MAX = 50


class Monitor:
    """What pages are made from: the broker, the requests counted by path, and the processes' usage."""

    def __init__(self, broker, port: int):
        self.broker = broker
        self.port = port
        self.requests: Counter[str] = Counter()

    @cached_property
    def processes(self) -> Processes:
        return Processes(self.broker)

    @cached_property
    def writer_rates(self) -> WriterRates:
        return WriterRates(self.broker)

    def handle(self, request: Request, respond: Respond) -> None:
        """Answer one request."""
        page = _PAGES.get(request.path)
        if page is None:
            respond(NOT_FOUND)
            return
        path = _ALIASES.get(request.path, request.path)
        if path not in _UNCOUNTED:
            self.requests[path] += 1
        try:
            page(self, request, respond)
        except BadArgument as error:
            respond(text_page(str(error), 400))


def serve_monitoring(broker, listener: socket.socket) -> Monitor:
    """Serve the pages about ``broker`` on ``listener``."""
    monitor = Monitor(broker, listener.getsockname()[1])
    HttpServer(broker.loop, listener, monitor.handle, broker.callback_failed)
    _warm_up_when_idle(broker, broker.handoff.accepted)
    return monitor


def _warm_up_when_idle(broker, accepted: int) -> None:
    """Import what some pages need once few clients come, beside the loop, so that the first viewer need not
    wait for it. A viewer who comes earlier waits; /varz and /healthz never need numpy."""

    def look() -> None:
        if broker.handoff.accepted - accepted > _WARM_UP_ACCEPTS_MAX:
            _warm_up_when_idle(broker, broker.handoff.accepted)
        else:
            threading.Thread(target=_warm_up, daemon=True).start()

    broker.loop.call_later(_WARM_UP_DELAY_S, look)


def _warm_up() -> None:
    for module in ("psutil", "shardbroker.shm.connection_rows"):
        importlib.import_module(module)
