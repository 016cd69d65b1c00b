"""The common level that lengths are cut to."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.levels import water_level


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(0, 5000))
def test_water_level_uses_the_budget_and_never_exceeds_it(sizes: list[int], budget: int) -> None:
    """Cut to the level, the sizes fit; one byte more would not, unless nothing had to be cut."""
    level = water_level(sizes, budget)
    assert sum(min(size, level) for size in sizes) <= budget
    if sum(sizes) > budget:
        assert sum(min(size, level + 1) for size in sizes) > budget
    else:
        assert level >= max(sizes)
