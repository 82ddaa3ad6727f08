"""The NATS client protocol without any I/O: bytes in, calls of a sink out; commands in, bytes out.

Read ``states.py`` (the machine, drawn), ``parser.py`` (the stream), ``operation.py`` (one operation and its
argument), ``sink.py`` (what the parser calls); then ``writer.py``, ``headers.py``, ``connect_options.py`` and
``server_info.py``, which stand alone. ``go_json.py`` explains why JSON is not just JSON here.
"""
