"""What is said before messages flow: INFO to the client, CONNECT from it.

Session asks here because this is rare and wants Python. Authentication will enter in `connect`: it is the one
place that sees the options of a connection before anything is granted.
"""

from dataclasses import asdict, dataclass
from platform import python_version

from shardbroker.config.options import Options
from shardbroker.control.messages import Attach
from shardbroker.errors import ProtocolError
from shardbroker.protocol.connect_options import DEFAULTS, ConnectOptions, parse_connect
from shardbroker.protocol.server_info import ServerInfo, is_acceptable_info
from shardbroker.shm import layout
from shardbroker.version import JETSTREAM_API_LEVEL, NATS_VERSION

_AUTHENTICATION_FAILURE = layout.CLOSE_REASONS.index("Authentication Failure")
_BAD_PROTOCOL = layout.CLOSE_REASONS.index("Bad Client Protocol Version")
_NO_RESPONDERS = layout.CLOSE_REASONS.index("No Responders Requires Headers")

# Stand-ins in an INFO line that is then filled in for each connection: encoding JSON anew for each of ten
# thousand connections would be most of a connect storm's work.
_CLIENT_ID = 918273645546372819
_CLIENT_IP = "@client-ip@"

#: The account of clients when no accounts are configured, as nats-server names it.
GLOBAL_ACCOUNT = "$G"


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a CONNECT. ``options`` None: close without a word. ``error``: say it, then close."""

    options: ConnectOptions | None
    headers: bool = False  # both sides want headers
    error: bytes | None = None
    reason: int = 0  # index into layout.CLOSE_REASONS


class Greeter:
    """INFO lines and decisions on CONNECT of one worker."""

    def __init__(self, attach: Attach, options: Options):
        self.lame_duck = False
        self._headers = not options.no_header_support
        self._info = ServerInfo(
            server_id=attach.server_id,
            server_name=attach.server_name,
            version=NATS_VERSION,
            go=f"python{python_version()}",
            host=attach.host,
            port=attach.port,
            headers=self._headers,
            max_payload=options.max_payload,
            jetstream=options.jetstream,
            api_lvl=JETSTREAM_API_LEVEL,
            xkey=attach.xkey,
        )
        self._lines: dict[tuple[bool, bool], bytes] = {}
        self._connected: dict[int, ConnectOptions] = {}

    def info(self, cid: int, ip: str, connect_info: bool = False) -> bytes:
        """The INFO line of one connection; ``connect_info``: the one that follows the first PONG."""
        key = (connect_info, self.lame_duck)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = self._template(connect_info)
        return line.replace(b"%d" % _CLIENT_ID, b"%d" % cid).replace(_CLIENT_IP.encode(), ip.encode())

    def connect(self, cid: int, argument: bytes) -> Decision:
        """Decide on a CONNECT. A second one starts from the options of the first (nats-server does)."""
        try:
            options = parse_connect(argument, self._connected.get(cid, DEFAULTS))
        except ProtocolError:
            return Decision(None)
        self._connected[cid] = options
        headers = self._headers and options.headers
        if options.new_account or options.account:
            return Decision(options, headers, b"Authorization Violation", _AUTHENTICATION_FAILURE)
        if options.protocol not in (0, 1):
            return Decision(options, headers, b"invalid client protocol", _BAD_PROTOCOL)
        if options.no_responders and not headers:
            return Decision(options, headers, b"no responders requires headers support", _NO_RESPONDERS)
        return Decision(options, headers)

    def forget(self, cid: int) -> None:
        """The connection closed."""
        self._connected.pop(cid, None)

    def remembered(self, cid: int) -> dict | None:
        """The CONNECT options of a connection that moves to another worker."""
        options = self._connected.get(cid)
        return asdict(options) if options is not None else None

    def remember(self, cid: int, fields: dict | None) -> None:
        """The other side of `remembered`."""
        if fields is not None:
            self._connected[cid] = ConnectOptions(**fields)

    def is_acceptable_info(self, argument: bytes) -> bool:
        """Whether a client may send this INFO."""
        return is_acceptable_info(argument)

    def _template(self, connect_info: bool) -> bytes:
        values = {name: getattr(self._info, name) for name in self._info.__dataclass_fields__}
        values.update(client_id=_CLIENT_ID, client_ip=_CLIENT_IP, ldm=self.lame_duck)
        if connect_info:
            values.update(connect_info=True, remote_account=GLOBAL_ACCOUNT)
        return ServerInfo(**values).to_line()
