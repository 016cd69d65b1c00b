"""What usage can be grouped by."""

from __future__ import annotations

__all__ = ["GROUPINGS"]

GROUPINGS: dict[str, str] = {
    "tenant": "tenant",
    "model": "coalesce(request_model, response_model)",
    "response_model": "coalesce(response_model, request_model)",
    "provider": "provider",
    "day": "date(start_ns / 1000000000, 'unixepoch')",
    "operation": "operation",
    "user": "user",
    "session": "session",
    "service": "service",
}
"""What one can group by -> the SQL of its label. `model` is the model asked for, so that a failed call, which
no model answered, counts with the others; `day` is the UTC day on which the span began."""
