"""Several Collectors on loopback: two balancers before three samplers of which one is killed, and Kafka between two tiers."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.collector.requests import names_in, numbered, request_of
from tests.collector.running import ROOT, TOKEN, Sidecar, wait_for
from tests.fakes.opik import FakeOpik, needs_openapi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.collector.fault_table import FaultTable

pytestmark = [needs_openapi, pytest.mark.timeout(1800), pytest.mark.slow]
"""E"""
