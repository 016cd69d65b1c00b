"""`otel-llm doctor`: looks at everything between the settings and the backend, then sends one span and finds it again.

examination.py    checks one after the other, none beyond the end of the whole
versions.py       installed versions that are known not to get on
recording.py      what is recorded, what is not, and what else records
network.py        proxy, DNS, TCP, protocol, TLS and clock on the way to a server
places.py         disk and spool
probe.py          the marked span, and looking for it in the backend
diagnosis.py      the order of all that
"""

from __future__ import annotations

from otel_llm.control.doctor.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
