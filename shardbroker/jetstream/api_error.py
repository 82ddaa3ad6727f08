"""What an error of the JetStream API is: three values that clients see, and a way to fill in texts.

The table of all errors is `api_errors.json`; `api_errors.py` is generated from it and holds one name for
each row. A row without placeholders is an `ApiError`, ready to be put into an answer. A row with placeholders
is an `ErrorTemplate`, which makes an `ApiError` when it is called.

Errors are values more often than they are raised. The named ones are shared by the whole process, and Python
keeps the frames of every raise in the instance that was raised. So raise a copy:
``raise STREAM_NOT_FOUND.fresh()``.

Source: spec page 05, "JetStream error table".
"""

import re

from shardbroker.errors import ShardbrokerError

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class ApiError(ShardbrokerError):
    """An error as clients see it: ``code`` like in HTTP, ``err_code`` that clients switch on, and a text."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(code, err_code, description)
        self.code = code
        self.err_code = err_code
        self.description = description

    def as_dict(self) -> dict[str, object]:
        """The value of ``error`` in an answer, keys in nats-server's order."""
        return {"code": self.code, "err_code": self.err_code, "description": self.description}

    def fresh(self) -> "ApiError":
        """An equal instance that may be raised: a shared one would keep the frames of every raise."""
        return ApiError(self.code, self.err_code, self.description)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiError) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)

    def __str__(self) -> str:
        return f"{self.description} ({self.err_code})"


class ErrorTemplate:
    """A row of the table with placeholders in its text. Calling it with all of them by name fills them in."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        self.code = code
        self.err_code = err_code
        self.description = description
        self.placeholders = frozenset(_PLACEHOLDER.findall(description))

    def __call__(self, **values: object) -> ApiError:
        """The filled error. An ApiError given as ``err`` is itself the answer, as in nats-server."""
        reason = values.get("err")
        if isinstance(reason, ApiError):
            return reason.fresh()
        if values.keys() != self.placeholders:
            raise TypeError(f"error {self.err_code} takes {sorted(self.placeholders)}, not {sorted(values)}")
        # In one pass: a value may look like a placeholder.
        text = _PLACEHOLDER.sub(lambda match: str(values[match.group(1)]), self.description)
        return ApiError(self.code, self.err_code, text)
