"""JetStream: streams and consumers as rules on plain values.

Nothing here opens a file or a socket or reads a clock: callers pass what was stored and what time it is, and
carry out what they are told.
"""
