"""/healthz: ready for clients or not.

One worker being restarted is no reason to take the server out of service: the others serve, and the slot
is back in a moment. JetStream arguments are checked as nats-server does and otherwise pass: there is no
JetStream that could be ill.
"""

from shardbroker.acceptor.monitor.page import bool_argument, json_page
from shardbroker.acceptor.worker import UP

_FLAGS = ("js-enabled", "js-enabled-only", "js-server-only", "js-meta-only", "details")


def healthz(monitor, request, respond) -> None:
    for name in _FLAGS:
        bool_argument(request, name)
    error, status = _argument_error(request), 400
    if not error and not any(worker.state == UP for worker in monitor.broker.workers):
        error, status = "no worker is ready", 503
    if not error:
        respond(json_page({"status": "ok"}, indent=False))
        return
    monitor.broker.log.warn(f'Healthcheck failed: "{error}"')
    if bool_argument(request, "details"):
        kind = "STREAM" if status == 400 else "CONN"
        page: dict = {"status": "error", "errors": [{"type": kind, "error": error}]}
    else:
        page = {"status": "error" if status == 400 else "unavailable", "error": error}
    respond(json_page(page, status=status, indent=False))


def _argument_error(request) -> str:
    query = request.query
    if query.get("stream") and not query.get("account"):
        return '"account" must not be empty when checking stream health'
    if query.get("consumer") and not query.get("stream"):
        return '"stream" must not be empty when checking consumer health'
    return ""
