"""Collects everything that is wrong with the settings, so that one error can say it all."""

from __future__ import annotations

from typing import Final, NamedTuple

from otel_llm.errors import ConfigError, UnknownSettingError

__all__ = ["USERS_OF", "Problems"]

USERS_OF: Final[dict[str, frozenset[str]]] = {
    "otlp": frozenset({"otlp"}),
    "opik": frozenset({"opik", "opik-otlp"}),
}
"""Group of settings -> the backends that read them."""


class _Problem(NamedTuple):
    text: str
    unknown: bool = False
    group: str = ""
    """Set where the problem counts only if a backend of this group is on."""


class Problems:
    """A list that ends in one `ConfigError`, or in none."""

    def __init__(self) -> None:
        self._found: list[_Problem] = []

    def add(self, name: str, source: str, sentence: str, *, foreign: bool = False) -> None:
        """Note that setting `name` as given in `source` is wrong; `sentence` says why and what to do.

        A variable or file of somebody else's (`foreign`) is not ours to judge as long as the backend that reads
        it is off: `OTEL_EXPORTER_OTLP_PROTOCOL=http/json` is right for another exporter.
        """
        group = name.partition(".")[0]
        self._found.append(
            _Problem(f"{name} ({source}): {sentence}", group=group if foreign and group in USERS_OF else "")
        )

    def unknown(self, name: str, source: str, hint: str) -> None:
        """Note that there is no setting `name`."""
        ending = hint or "; `otel-llm config show` lists all there are"
        self._found.append(_Problem(f"{name} ({source}): there is no such setting{ending}", unknown=True))

    def raise_for(self, backends: tuple[str, ...]) -> None:
        """Raise what was noted, as far as it matters to these backends.

        Raises `UnknownSettingError` when all of it is about names that do not exist, `ConfigError` otherwise.
        """
        serious = [one for one in self._found if not one.group or not USERS_OF[one.group].isdisjoint(backends)]
        if not serious:
            return
        lines = [one.text for one in serious]
        text = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} settings are wrong:", *lines])
        raise UnknownSettingError(text) if all(one.unknown for one in serious) else ConfigError(text)
