"""Finds the value of every setting: arguments > environment > file > Opik's own file > defaults."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from otel_llm.config.aliases import as_bool
from otel_llm.config.defaults import COMPUTED
from otel_llm.config.model import (
    ClientSettings,
    Config,
    MediaSettings,
    MetricsSettings,
    OpikSettings,
    OtlpSettings,
    SamplingSettings,
    SpoolSettings,
)
from otel_llm.config.parse import parse
from otel_llm.config.problems import USERS_OF, Problems
from otel_llm.config.settings import SETTINGS
from otel_llm.config.sources import (
    Layer,
    arguments_layer,
    environment_layer,
    file_layer,
    last_resort_layer,
    opik_file_layer,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["load"]

_DEFAULT = "default"


def load(
    arguments: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    reads: Collection[str] = (),
) -> Config:
    """The settings of this program, checked.

    `arguments` maps setting names to values (`otlp.endpoint`, `otlp_endpoint` and `{"otlp": {"endpoint": ...}}`
    are the same; None means not given). `environ` is the environment (default: the process's own), `directory`
    where `otel-llm.toml` or `pyproject.toml` is looked for (default: the working directory). `reads` names backends
    that are used without being configured, so that what others say about them is held to be right as well.

    Raises `ConfigError` that lists everything that is wrong, one line each, with its source and what to do;
    its subclass `UnknownSettingError` when all of it is about names that do not exist.
    """
    environ = os.environ if environ is None else environ
    directory = _working_directory() if directory is None else directory.absolute()
    problems = Problems()
    layers = [
        arguments_layer(arguments or {}, directory, problems),
        environment_layer(environ, directory, problems),
        file_layer(environ, directory, problems),
        last_resort_layer(environ, directory, problems),
        opik_file_layer(environ, problems),
    ]
    values, sources = _resolved(layers, problems)
    _check_together(values, sources, environ, problems)
    by_metrics = ("otlp",) if values["metrics.export"] == "otlp" else ()
    problems.raise_for((*values["backend"], *reads, *by_metrics))
    return _built(values, sources)


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was deleted under the program; nothing can be found there
        return Path("/")


def _resolved(layers: list[Layer], problems: Problems) -> tuple[dict[str, Any], dict[str, str]]:
    """Every setting's value and source; a value that is wrong is reported and stands at its default."""
    values: dict[str, Any] = {setting.name: setting.default for setting in SETTINGS}
    sources = dict.fromkeys(values, _DEFAULT)
    for setting in SETTINGS:
        given = next((layer[setting.name] for layer in layers if setting.name in layer), None)
        if given is None:
            continue
        try:
            values[setting.name] = parse(setting, given.raw, given.base)
            sources[setting.name] = given.source
        except ValueError as wrong:
            problems.add(setting.name, given.source, str(wrong), foreign=given.foreign)
    for name, compute in COMPUTED.items():
        if sources[name] == _DEFAULT:
            values[name], sources[name] = compute(values)
    return values, sources


def _check_together(
    values: Mapping[str, Any], sources: Mapping[str, str], environ: Mapping[str, str], problems: Problems
) -> None:
    """Settings that are right each alone, and contradict each other."""
    for smaller, larger in (("batch_size", "batch_queue_size"), ("max_value_bytes", "max_span_bytes")):
        if values[smaller] > values[larger]:
            sentence = f"{values[smaller]} is more than {larger} ({values[larger]}); lower it, or raise {larger}"
            problems.add(smaller, sources[smaller], sentence)
    if values["enabled"] and sources["enabled"] != _DEFAULT and _is(environ, "OTEL_SDK_DISABLED", wanted=True):
        sentence = "says true, and OTEL_SDK_DISABLED=true makes the SDK record nothing; remove one of the two"
        problems.add("enabled", sources["enabled"], sentence)
    if not USERS_OF["opik"].isdisjoint(values["backend"]):
        for variable, wanted in (("OPIK_ENABLED", False), ("OPIK_TRACK_DISABLE", True)):
            if _is(environ, variable, wanted=wanted):
                sentence = f"names Opik, and {variable}={environ[variable].strip()} turns it off; remove one of the two"
                problems.add("backend", sources["backend"], sentence)


def _is(environ: Mapping[str, str], variable: str, *, wanted: bool) -> bool:
    """Whether a variable of somebody else's is a boolean with this value."""
    try:
        return as_bool(environ.get(variable, "")) is wanted
    except ValueError:
        return False


def _built(values: Mapping[str, Any], sources: Mapping[str, str]) -> Config:
    top = {name: value for name, value in values.items() if "." not in name}
    return Config(
        **top,
        sampling=SamplingSettings(**_group(values, "sampling.")),
        metrics=MetricsSettings(**_group(values, "metrics.")),
        media=MediaSettings(**_group(values, "media.")),
        otlp=OtlpSettings(**_group(values, "otlp.")),
        opik=OpikSettings(**_group(values, "opik.")),
        spool=SpoolSettings(**_group(values, "spool.")),
        client=ClientSettings(**_group(values, "client.")),
        sources=MappingProxyType(dict(sources)),
    )


def _group(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
