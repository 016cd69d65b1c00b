"""What the commands' arguments may be, each with a sentence for what is none."""

from __future__ import annotations

import argparse
from typing import Final

__all__ = ["port", "seconds"]

_MOST_SECONDS: Final = 10**8
"""Three years; clocks and sockets take no more everywhere."""


def port(text: str) -> int:
    """A port to listen on; 0 is any that is free."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write a number from 0 (any that is free) to 65535")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _MOST_SECONDS:  # false for NaN too
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number
