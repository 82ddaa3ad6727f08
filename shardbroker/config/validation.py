"""Cross-checks of the options. Every message says what is wrong and what would be right."""

import os

from shardbroker import limits
from shardbroker.config.options import Options
from shardbroker.errors import ConfigError


def worker_count(options: Options) -> int:
    """How many workers to start: as asked, else one for each core this process may use."""
    if options.workers > 0:
        return options.workers
    return min(max(1, len(os.sched_getaffinity(0))), limits.workers_max)


def validate(options: Options) -> None:
    """Raise ConfigError for options that make no sense, alone or together."""
    _check_names(options)
    _check_sizes(options)
    _check_times(options)
    _check_jetstream(options)


def _check_names(options: Options) -> None:
    if any(character.isspace() for character in options.server_name):
        raise ConfigError("server name cannot contain spaces")
    if options.client_advertise:
        host, _, port = options.client_advertise.rpartition(":")
        if not host:
            host, port = options.client_advertise, "0"
        if not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"client_advertise {options.client_advertise!r} should be host or host:port")


def _check_sizes(options: Options) -> None:
    for name in ("port", "http_port"):
        if not -1 <= getattr(options, name) <= 65535:
            raise ConfigError(f"{name} {getattr(options, name)} should be between 0 and 65535, or -1 for any")
    if not 0 <= options.workers <= limits.workers_max:
        raise ConfigError(f"workers {options.workers} should be between 1 and {limits.workers_max}")
    for name in ("max_payload", "max_control_line", "max_pending", "outbound_budget"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"{name} {getattr(options, name)} should be a positive number of bytes")
    for name in ("max_subscriptions", "max_sub_tokens", "ping_max", "max_closed_clients"):
        if getattr(options, name) < 0:
            raise ConfigError(f"{name} {getattr(options, name)} should not be negative")
    if options.max_payload > limits.payload_size_max_limit:
        raise ConfigError(
            f"max_payload {options.max_payload} cannot be higher than {limits.payload_size_max_limit}"
        )
    if options.max_payload > options.max_pending:
        raise ConfigError(
            f"max_payload ({options.max_payload}) cannot be higher than max_pending ({options.max_pending})"
        )
    size = options.ring_size
    if size < limits.ring_size_min or size & (size - 1):
        raise ConfigError(
            f"ring_size {size} should be a power of two of at least {limits.ring_size_min} bytes"
        )


def _check_times(options: Options) -> None:
    for name in ("write_deadline_s", "ping_interval_s", "lame_duck_grace_period_s"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"{name.removesuffix('_s')} should be a positive duration")
    if options.lame_duck_grace_period_s >= options.lame_duck_duration_s:
        raise ConfigError(
            f"lame duck grace period ({options.lame_duck_grace_period_s:g}s) should be strictly lower than "
            f"lame duck duration ({options.lame_duck_duration_s:g}s)"
        )


def _check_jetstream(options: Options) -> None:
    for name in ("max_memory_store", "max_file_store"):
        if getattr(options, name) < -1:
            raise ConfigError(
                f"{name} {getattr(options, name)} should be a number of bytes, or -1 for the default"
            )
    if options.sync_interval_s <= 0:
        raise ConfigError("sync_interval should be a positive duration")
    size = options.lane_size
    if size == 0:
        return
    # A message of the largest size travels in one record, beside others that wait for their sync.
    least = max(limits.lane_size_floor, 4 * options.max_payload)
    if size < least or size & (size - 1):
        raise ConfigError(
            f"lane_size {size} should be a power of two of at least {least} bytes "
            f"(max_payload is {options.max_payload})"
        )
    if size > limits.lane_size_max:
        raise ConfigError(f"lane_size {size} cannot be higher than {limits.lane_size_max}")
