"""Main of the acceptor, the process that was started: the steps of start and stop, in order.

The forkserver runs already when this module is imported (cli/serve.py), so that it boots on another core
while the imports below happen here. Until all workers are ready nothing is accepted, but the ports are
bound first: a port in use is told at once, and early clients wait in the backlog.
"""

import resource
import signal
import socket
from collections.abc import Callable

from shardbroker import limits
from shardbroker.acceptor import identity, run_files
from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.acceptor.fabric import Fabric
from shardbroker.acceptor.forkserver import Forkserver
from shardbroker.acceptor.handoff import Handoff
from shardbroker.acceptor.listener import Listener, host_port, open_listener
from shardbroker.acceptor.placement import Placement
from shardbroker.acceptor.queries import Queries
from shardbroker.acceptor.shutdown import Shutdown
from shardbroker.acceptor.signals import NAMES, Signals
from shardbroker.acceptor.supervisor import Supervisor
from shardbroker.acceptor.worker import Worker
from shardbroker.config.options import Options
from shardbroker.config.validation import worker_count
from shardbroker.control.messages import QUERY_FAREWELL, ReopenLog
from shardbroker.control.worker_entry import run_worker, run_writer
from shardbroker.errors import StartError
from shardbroker.log import Log
from shardbroker.version import NATS_VERSION, __version__


def run(options: Options, log: Log, forkserver: Forkserver, program: str) -> int:
    """Serve until a signal ends it; gives the exit code. ``program`` names the ports file."""
    try:
        raise_descriptor_limit()
        broker = Broker(options, log, forkserver, program)
    except StartError as error:
        log.fatal(str(error))
        return 1
    return broker.serve()


def raise_descriptor_limit() -> None:
    """As many descriptors as we may have: the soft limit is often 1024. Workers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_max(options: Options, workers: int) -> int:
    """How many connections the workers can hold: max_connections, or fewer if descriptors are short.

    Each worker needs some of its own (rings, tables and doorbells of all peers, also of successors), and a
    descriptor that arrives when none is free is lost with its connection.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = workers * max(1, hard - limits.descriptors_reserved - 4 * workers)
    return min(options.max_connections, held) if options.max_connections > 0 else held


class Broker:
    """The parts of the acceptor, built and connected. The monitoring pages read it."""

    def __init__(self, options: Options, log: Log, forkserver: Forkserver, program: str):
        self.options = options
        self.log = log
        self.forkserver = forkserver
        self.server_id = identity.new_server_id()
        self.server_name = options.server_name or self.server_id
        self._program = program
        self._ports_file = ""
        self._tell_start()
        if options.pid_file:
            self._write_pid_file()
        self._http_socket = self._open_http()
        self._client_socket = self._open_clients()
        #: What clients are told; a proxy may stand before us.
        self.host, self.port = identity.advertised_address(options, self._client_socket.getsockname()[1])

        self.loop = EventLoop(on_error=self.callback_failed)
        self.fabric = Fabric(options, worker_count(options))
        self.workers = [Worker(index, self.loop) for index in range(self.fabric.worker_count)]
        self.placement = Placement(self.fabric, self.workers)
        self.handoff = Handoff(self.placement, self.workers, connections_max(options, len(self.workers)))
        self.queries = Queries(self.loop, self.workers)
        self.listener = Listener(
            self._client_socket,
            self.loop,
            take=self.handoff.take,
            has_room=lambda: not self.handoff.saturated,
            complain=log.error,
        )
        self.supervisor = self._build_supervisor()
        self.shutdown = Shutdown(
            loop=self.loop,
            log=log,
            options=options,
            supervisor=self.supervisor,
            placement=self.placement,
            workers=self.workers,
            close_listener=self.listener.close,
        )
        self.jetstream = self._build_jetstream() if options.jetstream else None
        if self.jetstream is not None:
            self.shutdown.before_stop = self._say_farewell
        self._connect()

    def serve(self) -> int:
        """Start the workers, run the loop, clean up."""
        self._catch_signals()
        try:
            if self.jetstream is not None:
                self.jetstream.writer.start()
                self.loop.call_later(limits.store_watch_interval_s, self._watch_room)
            self.supervisor.start()
            if self._http_socket is not None:
                # While the workers attach: slow to import, and nothing else to do.
                import shardbroker.acceptor.monitor.endpoints  # noqa: F401
            self.loop.run()
        finally:
            self._clean_up()
        self.log.info("Server Exiting..")
        return self.shutdown.exit_code

    # --- start -------------------------------------------------------------------------------------------

    def _tell_start(self) -> None:
        self.log.info("Starting nats-server")  # tools look for this line
        self.log.info(f"  Version:  {NATS_VERSION}")
        self.log.info(f"  Git:      [shardbroker {__version__}]")
        self.log.info(f"  Name:     {self.server_name}")
        self.log.info(f"  ID:       {self.server_id}")

    def _write_pid_file(self) -> None:
        try:
            run_files.write_pid_file(self.options.pid_file)
        except OSError as error:
            raise StartError(f"Could not write pidfile: {_in_go_words(error)}") from error

    def _open_http(self) -> socket.socket | None:
        if self.options.http_port == 0:
            return None
        try:
            return open_listener(self.options.http_host or self.options.host, self.options.http_port)
        except StartError as error:
            text = f"Can't start monitoring: can't listen to the monitor port: {error}"
            raise StartError(text) from error

    def _open_clients(self) -> socket.socket:
        options = self.options
        try:
            return open_listener(options.host, options.port)
        except StartError as error:
            where = f"{options.host}:{max(0, options.port)}"
            raise StartError(f'Error listening on port: {where}, "{error}"') from error

    def _build_supervisor(self) -> Supervisor:
        return Supervisor(
            loop=self.loop,
            log=self.log,
            options=self.options,
            fabric=self.fabric,
            forkserver=self.forkserver,
            workers=self.workers,
            start_process=run_worker,
            identity={
                "server_id": self.server_id,
                "server_name": self.server_name,
                "xkey": identity.new_curve_key(),
                "host": self.host,
                "port": self.port,
            },
        )

    def _say_farewell(self, go_on: Callable[[], None]) -> None:
        """Let all workers tell those who wait for messages, before the first of them closes its clients."""
        self.queries.ask(QUERY_FAREWELL, {}, lambda _answers: go_on())

    def _build_jetstream(self):
        """The catalog of streams and the process that writes them."""
        from shardbroker.acceptor.jetstream import JetStream
        from shardbroker.acceptor.stream_writer import StreamWriter
        from shardbroker.shm.slot_table import stream_slot

        writer = StreamWriter(self.loop, self.log, self.options, self.fabric, self.forkserver, run_writer)
        jetstream = JetStream(
            self.fabric,
            self.workers,
            writer,
            self.options,
            self.log,
            lambda account, name: self.fabric.slots.worker_of(stream_slot(account, name)),
        )
        jetstream.on_failed = self._start_failed
        writer.on_lane_broken = lambda index: self.workers[index].kill()
        self.supervisor.on_attached = self._worker_attached
        self.supervisor.on_ask = jetstream.asked
        self.supervisor.on_worker_up = jetstream.worker_up
        self.supervisor.before_restart = self._settle_streams
        self.shutdown.before_end = self._end_writer
        return jetstream

    def _watch_room(self) -> None:
        if self.jetstream.ready:
            self.jetstream.watch_room()
        self.loop.call_later(limits.store_watch_interval_s, self._watch_room)

    def _worker_attached(self, worker: Worker) -> None:
        if worker.generation > 1:
            self.jetstream.writer.peer_up(worker.index)
        self.jetstream.attach(worker)

    def _settle_streams(self, worker: Worker, go_on) -> None:
        """What the dead worker sent is stored to the end before a successor looks at it."""

        def fenced(_term: int) -> None:
            self.jetstream.worker_gone(worker.index)
            go_on()

        self.jetstream.writer.fence(worker.index, fenced)

    def _end_writer(self, go_on) -> None:
        self.jetstream.writer.on_stopped = go_on
        self.jetstream.writer.stop()

    def _connect(self) -> None:
        """Who hears of what."""
        self.handoff.on_room = self.listener.resume
        self.supervisor.on_up = self.handoff.drain
        self.supervisor.on_move = self.handoff.move
        self.supervisor.on_answer = self.queries.answered
        self.supervisor.on_all_up = self._serve_clients
        self.supervisor.on_start_failed = self._start_failed
        for worker in self.workers:
            worker.on_room = lambda _worker: self.handoff.drain()

    def _serve_clients(self) -> None:
        """All workers are ready: open the doors and say so."""
        if self._http_socket is not None:
            self._serve_http()
        self.listener.start()
        where = host_port(self.options.host or "0.0.0.0", self.listener.port)
        self.log.info(f"Listening for client connections on {where}")
        self.log.info("Server is ready")
        if self.options.ports_file_dir:
            self._write_ports_file()

    def _serve_http(self) -> None:
        from shardbroker.acceptor.monitor.endpoints import serve_monitoring

        self.monitor = serve_monitoring(self, self._http_socket)
        where = host_port(self.options.http_host or self.options.host, self._http_socket.getsockname()[1])
        self.log.info(f"Starting http monitor on {where}")

    def _write_ports_file(self) -> None:
        path = run_files.ports_file_path(self.options.ports_file_dir, self._program)
        try:
            run_files.write_ports_file(path, self._client_socket, self._http_socket)
            self._ports_file = path
        except OSError as error:
            self.log.error(f"Error writing ports file ({path}): {_in_go_words(error)}")

    # --- signals and ends --------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        actions = {
            signal.SIGINT: self.shutdown.stop,
            signal.SIGTERM: self._terminated,
            signal.SIGUSR1: self._reopen_log,
            signal.SIGUSR2: self.shutdown.begin_lame_duck,
            signal.SIGHUP: self._reload,
        }
        told = {
            number: (lambda name=NAMES[number], act=act: (self.log.info(f'Trapped "{name}" signal'), act()))
            for number, act in actions.items()
        }
        Signals(self.loop, told)

    def _terminated(self) -> None:
        # As nats-server: a lame duck finishes its walk; who cannot wait sends SIGINT.
        if not self.shutdown.lame_duck:
            self.shutdown.stop()

    def _reopen_log(self) -> None:
        if not self.log.reopen():
            self.log.info("File log re-open ignored, not a file logger")
            return
        self.log.info("File log re-opened")
        for worker in self.workers:
            worker.send(ReopenLog())

    def _reload(self) -> None:
        self.log.error(
            "Failed to reload server configuration: "
            "can only reload config when a file is provided using -c or --config"
        )

    def _start_failed(self, why: str) -> None:
        if not self.shutdown.stopping:
            self.log.fatal(f"Cannot start: {why}")
            self.shutdown.stop(exit_code=1)

    def callback_failed(self, error: Exception) -> None:
        """A bug of ours: tell where, go on serving."""
        import traceback

        where = " <- ".join(
            f"{frame.name} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})"
            for frame in reversed(traceback.extract_tb(error.__traceback__))
        )
        self.log.error(f"Acceptor: {type(error).__name__}: {error} in {where}")

    def _clean_up(self) -> None:
        self.forkserver.close()
        self.handoff.close()
        self.fabric.close()
        if self._ports_file:
            run_files.remove(self._ports_file)


def _in_go_words(error: OSError) -> str:
    """``open /path: no such file or directory``"""
    name = error.filename2 or error.filename or ""
    return f"open {name}: {(error.strerror or str(error)).lower()}"
