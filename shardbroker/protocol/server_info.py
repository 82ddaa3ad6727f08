"""INFO: what the server tells a client about itself; and the check of an INFO that a client sends."""

from dataclasses import dataclass, fields

import orjson

from shardbroker.protocol import go_json
from shardbroker.protocol.writer import info_line


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The fields for clients by their names on the wire, in nats-server's order, which is the written one.

    ``dataclasses.replace`` makes the INFO of one connection from that of the server.
    """

    server_id: str
    server_name: str
    version: str  # nats-server's: clients decide by it what they may use
    proto: int = 1
    git_commit: str = ""
    go: str = ""
    host: str = ""
    port: int = 0
    headers: bool = True
    auth_required: bool = False
    tls_required: bool = False
    tls_verify: bool = False
    tls_available: bool = False
    max_payload: int = 0  # bytes
    jetstream: bool = False
    ip: str = ""
    client_id: int = 0
    client_ip: str = ""
    nonce: str = ""
    cluster: str = ""
    cluster_dynamic: bool = False
    domain: str = ""
    connect_urls: tuple[str, ...] = ()
    ldm: bool = False  # lame duck mode: the client should go elsewhere
    connect_info: bool = False  # this INFO answers the first PING after CONNECT
    remote_account: str = ""
    acc_is_sys: bool = False
    api_lvl: int = 0
    xkey: str = ""

    def to_json(self) -> bytes:
        """The JSON object; empty fields are left out but for those that nats-server always writes."""
        values = {name: getattr(self, name) for name in _NAMES}
        text = orjson.dumps({name: value for name, value in values.items() if value or name in _ALWAYS})
        # Go writes these three escaped, so that JSON may stand in HTML. They occur inside strings only.
        return text.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")

    def to_line(self) -> bytes:
        """The whole INFO operation."""
        return info_line(self.to_json())


_NAMES = tuple(field.name for field in fields(ServerInfo))
_ALWAYS = frozenset(
    ("server_id", "server_name", "version", "proto", "go", "host", "port", "headers", "max_payload")
)

# The kinds of all fields, those between servers included: nats-server closes the connection of a client that
# sends INFO with a value of a wrong kind, and otherwise ignores it.
_KINDS: go_json.Kinds = {
    **{field.name: go_json.string for field in fields(ServerInfo) if field.type is str},
    **{field.name: go_json.boolean for field in fields(ServerInfo) if field.type is bool},
    **{field.name: go_json.int64 for field in fields(ServerInfo) if field.type is int},
    "max_payload": go_json.int32,
    "client_id": go_json.uint64,
    **dict.fromkeys(
        ("connect_urls", "ws_connect_urls", "gateway_urls", "leafnode_urls"),
        go_json.strings,
    ),
    **dict.fromkeys(
        ("compression", "route_account", "route_acc_add_reqid", "gateway", "gateway_url"),
        go_json.string,
    ),
    **dict.fromkeys(("lnoc", "lnocu", "info_on_connect", "gateway_nrp", "gateway_iom"), go_json.boolean),
    **dict.fromkeys(("route_pool_size", "route_pool_idx"), go_json.int64),
    **dict.fromkeys(("gossip_mode", "gateway_cmd"), go_json.uint8),
    "gateway_cmd_payload": go_json.base64_bytes,
    "import": go_json.subject_permission,
    "export": go_json.subject_permission,
}


def is_acceptable_info(argument: bytes) -> bool:
    """Whether nats-server keeps the connection of a client that sends ``INFO argument``."""
    try:
        go_json.decode_fields(argument, _KINDS)
    except go_json.GoJsonError:
        return False
    return True
