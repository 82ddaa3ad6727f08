"""The argument of CONNECT: what a client is and what it wants."""

from dataclasses import dataclass, replace

from shardbroker.errors import ProtocolError
from shardbroker.protocol import go_json


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """The options by their names on the wire, but ``password`` for ``pass``.

    The defaults are those of a client that never sent CONNECT. ``import`` and ``export`` are for links
    between servers; their form is checked and they are dropped.
    """

    verbose: bool = True  # +OK for CONNECT, SUB, UNSUB and PUB
    pedantic: bool = True  # check the subject of PUB
    echo: bool = True  # own messages are delivered to own subscriptions
    headers: bool = False  # understands HMSG
    no_responders: bool = False  # wants a 503 for a request that nobody receives
    protocol: int = 0  # 1: understands INFO at any time
    tls_required: bool = False
    name: str = ""
    lang: str = ""
    version: str = ""
    user: str = ""
    password: str = ""
    auth_token: str = ""
    nkey: str = ""
    sig: str = ""
    jwt: str = ""
    account: str = ""
    new_account: bool = False
    remote_account: str = ""
    proxy_sig: str = ""


_KINDS: go_json.Kinds = {
    **dict.fromkeys(
        ("verbose", "pedantic", "echo", "headers", "no_responders", "tls_required", "new_account"),
        go_json.boolean,
    ),
    **dict.fromkeys(("name", "lang", "version", "account", "remote_account"), go_json.string),
    **dict.fromkeys(("user", "pass", "auth_token", "nkey", "sig", "jwt", "proxy_sig"), go_json.string),
    "protocol": go_json.int64,
    "import": go_json.subject_permission,
    "export": go_json.subject_permission,
}

DEFAULTS = ConnectOptions()


def parse_connect(argument: bytes, previous: ConnectOptions = DEFAULTS) -> ConnectOptions:
    """The options after this CONNECT. What it does not name stays as in ``previous``.

    Raises ProtocolError for what nats-server closes the connection for without a word.
    """
    try:
        fields = go_json.decode_fields(argument, _KINDS)
    except go_json.GoJsonError as error:
        raise ProtocolError(f"CONNECT: {error}") from error
    fields.pop("import", None)
    fields.pop("export", None)
    if "pass" in fields:
        fields["password"] = fields.pop("pass")
    return replace(previous, **fields)
