"""Property: every row of the table of errors is there under its name, and filled in wholly or not at all."""

import json
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from shardbroker.jetstream import api_errors
from shardbroker.jetstream.api_error import ApiError, ErrorTemplate

ROOT = Path(__file__).resolve().parents[2]
TABLE = json.loads((ROOT / "shardbroker" / "jetstream" / "api_errors.json").read_text())


def test_the_module_is_what_the_table_gives() -> None:
    """Nobody edited the generated module, or forgot to generate it."""
    command = [sys.executable, str(ROOT / "tools" / "generate_api_errors.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0


def test_every_number_once() -> None:
    """10001 was never used; the rest has no gap up to the last of 2.15."""
    assert [row["err_code"] for row in TABLE] == list(range(10002, 10228))
    assert set(api_errors.BY_ERR_CODE) == set(range(10002, 10228))


def test_rows() -> None:
    """The entry of each number has the row's values."""
    for row in TABLE:
        entry = api_errors.BY_ERR_CODE[row["err_code"]]
        assert (entry.code, entry.description) == (row["code"], row["description"])
        assert isinstance(entry, ErrorTemplate if "{" in row["description"] else ApiError)


def test_names() -> None:
    """A sample of names, which others write: small words, initials, the F at the end."""
    assert api_errors.STREAM_NOT_FOUND.as_dict() == {
        "code": 404,
        "err_code": 10059,
        "description": "stream not found",
    }
    assert api_errors.STREAM_INVALID_CONFIG(err="why").description == "why"
    assert api_errors.CONSUMER_WQ_REQUIRES_EXPLICIT_ACK.err_code == 10098
    assert api_errors.MESSAGE_TTL_INVALID.err_code == 10165
    assert api_errors.INVALID_JSON(err="x").description == "invalid JSON: x"


def test_templates_refuse_what_does_not_fit() -> None:
    """A missing or an unknown placeholder is a mistake of the caller."""
    with pytest.raises(TypeError):
        api_errors.SEQUENCE_NOT_FOUND()
    with pytest.raises(TypeError):
        api_errors.SEQUENCE_NOT_FOUND(seq=1, err="x")
    assert api_errors.SEQUENCE_NOT_FOUND(seq=7).description == "sequence 7 not found"
    both = api_errors.STREAM_EXTERNAL_API_OVERLAP(prefix="{subject}", subject="b")
    assert both.description == "stream external api prefix {subject} must not overlap with b"


def test_an_error_within_an_error_is_the_error() -> None:
    """nats-server does not wrap one in another."""
    assert api_errors.STREAM_UPDATE(err=api_errors.STREAM_NOT_FOUND) == api_errors.STREAM_NOT_FOUND


def test_raising_a_fresh_one_leaves_the_shared_one_alone() -> None:
    """The shared instance would collect the frames of every raise."""
    for _ in range(3):
        with pytest.raises(ApiError) as caught:
            raise api_errors.STREAM_NOT_FOUND.fresh()
        assert caught.value == api_errors.STREAM_NOT_FOUND
        assert len(traceback.extract_tb(caught.value.__traceback__)) == 1
    assert api_errors.STREAM_NOT_FOUND.__traceback__ is None
