"""The flags of the command line: nats-server's, plus one long flag for each limit that has an option.

Flags of nats-server whose feature does not exist here yet are refused by name, with the reason: a broker
that starts without the TLS or the passwords it was asked for would be worse than one that does not start.
Their "off" values are accepted, because scripts like to be explicit.
"""

from collections.abc import Callable
from dataclasses import dataclass

from shardbroker.cli.flags import Flag, boolean, duration, integer, parse, size, sync_mode
from shardbroker.config.options import Options
from shardbroker.errors import ConfigError

#: names -> (converter, option)
_OPTION_FLAGS = {
    ("p", "port"): (integer, "port"),
    ("a", "addr", "net"): (str, "host"),
    ("m", "http_port"): (integer, "http_port"),
    ("n", "name", "server_name"): (str, "server_name"),
    ("P", "pid"): (str, "pid_file"),
    ("ports_file_dir",): (str, "ports_file_dir"),
    ("client_advertise",): (str, "client_advertise"),
    ("l", "log"): (str, "log_file"),
    ("T", "logtime"): (boolean, "logtime"),
    ("logtime_utc",): (boolean, "logtime_utc"),
    ("D", "debug"): (boolean, "debug"),
    ("V", "trace"): (boolean, "trace"),
    ("workers",): (integer, "workers"),
    ("max_payload",): (size, "max_payload"),
    ("max_control_line",): (size, "max_control_line"),
    ("max_connections",): (integer, "max_connections"),
    ("max_subscriptions",): (integer, "max_subscriptions"),
    ("max_sub_tokens",): (integer, "max_sub_tokens"),
    ("max_pending",): (size, "max_pending"),
    ("max_closed_clients",): (integer, "max_closed_clients"),
    ("outbound_budget",): (size, "outbound_budget"),
    ("ring_size",): (size, "ring_size"),
    ("write_deadline",): (duration, "write_deadline_s"),
    ("ping_interval",): (duration, "ping_interval_s"),
    ("ping_max",): (integer, "ping_max"),
    ("lame_duck_duration",): (duration, "lame_duck_duration_s"),
    ("lame_duck_grace_period",): (duration, "lame_duck_grace_period_s"),
    ("js", "jetstream"): (boolean, "jetstream"),
    ("sd", "store_dir"): (str, "store_dir"),
    ("sync",): (sync_mode, "sync_commit"),
    ("sync_interval",): (duration, "sync_interval_s"),
    ("max_memory_store",): (size, "max_memory_store"),
    ("max_file_store",): (size, "max_file_store"),
    ("lane_size",): (size, "lane_size"),
    ("no_header_support",): (boolean, "no_header_support"),
    ("no_fast_producer_stall",): (boolean, "no_fast_producer_stall"),
}

#: Several options by one flag.
_DOUBLE_FLAGS = {
    "DV": ("debug", "trace"),
    "VV": ("trace",),
    "DVV": ("debug", "trace"),
}

#: names -> (converter, what is missing). Refused unless the value is empty, zero or false.
_REFUSED_FLAGS = {
    ("c", "config"): (str, "configuration files are not supported yet; use flags"),
    ("t",): (boolean, "there is no configuration file to test yet"),
    ("ms", "https_port"): (integer, "monitoring over TLS is not supported yet; use -m"),
    ("user",): (str, "authentication is not supported yet"),
    ("pass",): (str, "authentication is not supported yet"),
    ("auth",): (str, "authentication is not supported yet"),
    ("tls",): (boolean, "TLS is not supported yet"),
    ("tlscert",): (str, "TLS is not supported yet"),
    ("tlskey",): (str, "TLS is not supported yet"),
    ("tlsverify",): (boolean, "TLS is not supported yet"),
    ("tlscacert",): (str, "TLS is not supported yet"),
    ("help_tls",): (boolean, "TLS is not supported yet"),
    ("routes",): (str, "clusters are not supported yet"),
    ("cluster", "cluster_listen"): (str, "clusters are not supported yet"),
    ("cluster_name",): (str, "clusters are not supported yet"),
    ("cluster_advertise",): (str, "clusters are not supported yet"),
    ("no_advertise",): (boolean, "clusters are not supported yet"),
    ("connect_retries",): (integer, "clusters are not supported yet"),
    ("profile",): (integer, "there is no Go runtime to profile"),
    ("s", "syslog"): (boolean, "syslog is not supported yet; use -l or stderr"),
    ("r", "remote_syslog"): (str, "syslog is not supported yet; use -l or stderr"),
    ("log_size_limit",): (size, "log rotation by size is not supported yet; rotate and send SIGUSR1"),
    ("max_traced_msg_len",): (integer, "cutting traced messages is not supported yet"),
}


@dataclass(slots=True)
class Command:
    """What the command line asks for: ``action`` is serve, help, version or signal."""

    action: str = "serve"
    options: Options | None = None
    signal: str = ""


def parse_arguments(arguments: list[str]) -> Command:
    """Raises UsageError for what cannot be read, ConfigError for what is read and cannot be had."""
    command = Command()
    values: dict[str, object] = {}
    refused: list[str] = []

    def set_action(action: str) -> Callable[[object], None]:
        return lambda value: setattr(command, "action", action) if value else None

    def send_signal(value: object) -> None:
        command.signal = str(value)
        set_action("signal")(value)

    flags = [
        Flag(("h", "help"), boolean, set_action("help")),
        Flag(("v", "version"), boolean, set_action("version")),
        Flag(("sl", "signal"), str, send_signal),
        *(
            Flag(names, convert, lambda value, option=option: values.__setitem__(option, value))
            for names, (convert, option) in _OPTION_FLAGS.items()
        ),
        *(
            Flag(
                (name,), boolean, lambda value, options=options: values.update(dict.fromkeys(options, value))
            )
            for name, options in _DOUBLE_FLAGS.items()
        ),
        *(
            Flag(
                names, convert, lambda value, text=f"flag -{names[0]}: {why}": value and refused.append(text)
            )
            for names, (convert, why) in _REFUSED_FLAGS.items()
        ),
    ]
    rest = parse(arguments, flags)
    for word in rest:
        if word.lower() not in ("help", "version"):
            raise ConfigError(f'unrecognized command: "{word}"')
        command.action = word.lower()
    if command.action == "serve":
        if refused:
            raise ConfigError("\n".join(refused))
        if values.get("port") == 0:
            del values["port"]  # nats-server: 0 is the default port, -1 any free one
        command.options = Options(**values)
    return command
