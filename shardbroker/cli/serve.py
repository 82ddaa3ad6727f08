"""Options -> a running broker."""

import os
import sys
import time
from dataclasses import replace

from shardbroker import limits
from shardbroker.acceptor.forkserver import Forkserver
from shardbroker.config.options import Options
from shardbroker.config.validation import validate
from shardbroker.log import Log


def serve(options: Options, program: str, forkserver: Forkserver | None = None) -> int:
    """Run the broker until it is told to stop; gives the exit code. Raises ConfigError.

    ``forkserver`` is one that was started early; who started it closes it.
    """
    validate(options)
    if options.jetstream:
        # Every process needs the same answer, whatever its working directory.
        directory = options.store_dir or os.path.join(
            os.environ.get("TMPDIR", "/tmp"), limits.store_directory_default
        )
        options = replace(options, store_dir=os.path.abspath(directory))
    try:
        log = Log(
            path=options.log_file,
            debug=options.debug,
            trace=options.trace,
            logtime=options.logtime,
            utc=options.logtime_utc,
        )
    except OSError as error:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S")
        text = f"open {error.filename}: {(error.strerror or '').lower()}"
        print(f"{stamp} error opening file: {text}", file=sys.stderr)
        return 1
    forkserver = forkserver or Forkserver()
    try:
        from shardbroker.acceptor.process import run

        forkserver.prepare()
        return run(options, log, forkserver, program)
    finally:
        forkserver.close()
