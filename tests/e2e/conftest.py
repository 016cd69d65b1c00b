"""What tests of whole programs share: a program, and the receiver that its spans go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.lifecycle_kit import Program
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """Keeps every span that it is sent."""
    with OtlpReceiver() as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, receiver: OtlpReceiver) -> Program:
    """A program whose spans go to the receiver."""
    return Program(tmp_path, receiver.url)
