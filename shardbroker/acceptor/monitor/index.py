"""/: links to all pages, under nats-server's names for them."""

from shardbroker.acceptor.monitor.http_server import Response
from shardbroker.version import NATS_VERSION, __version__

_LINKS = (
    ("varz", "General"),
    ("shardz", "Shards"),
    ("jsz", "JetStream"),
    ("connz", "Connections"),
    ("accountz", "Accounts"),
    ("accstatz", "Account Stats"),
    ("subsz", "Subscriptions"),
    ("routez", "Routes"),
    ("leafz", "LeafNodes"),
    ("gatewayz", "Gateways"),
    ("raftz", "Raft Groups"),
    ("ipqueuesz", "Internal Queues"),
    ("healthz", "Health Probe"),
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>shardbroker</title><link rel="icon" href="data:,">
<style>body {{ font: 16px/1.6 system-ui, sans-serif; margin: 2rem }} a {{ display: block }}
:root {{ color-scheme: light dark }} small {{ opacity: .6 }}</style></head>
<body><h1>shardbroker</h1><small>{version}, as nats-server {nats}</small>
{links}
</body></html>
"""


def index(monitor, request, respond) -> None:
    links = "\n".join(f'<a href="./{path}">{title} <small>/{path}</small></a>' for path, title in _LINKS)
    body = _PAGE.format(version=__version__, nats=NATS_VERSION, links=links)
    respond(Response(200, "text/html; charset=utf-8", body.encode()))
