"""Places that spans can go: `send(batch) -> Outcome`, `check() -> findings`.

`build` makes a backend by its name. A backend's module is imported when it is built, not before: `import otel_llm`
loads none of them, and a missing extra is an error that names it. What a backend loads later, when delivery is set up
(`Backend.prepare`), must be there when it is built.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Final

from otel_llm.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.config import Config
    from otel_llm.contracts import Backend

__all__ = ["NAMES", "build"]


def build(name: str, config: Config) -> Backend:
    """The backend `name` as `config` describes it; it connects to nothing yet.

    Raises `BackendError` for an unknown name (naming the nearest one), for a backend whose extra is not installed
    (naming it), and for settings that it cannot work with; `ConfigError` where a setting itself is wrong.
    """
    factory = _FACTORIES.get(name)
    if factory is None:
        import difflib

        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BackendError(f"There is no backend {name!r}.{hint} Known are {', '.join(NAMES)}.")
    try:
        _look_for(_LOADED_LATE.get(name, ()))
        return factory(config)
    except ImportError as error:
        raise BackendError(
            f"The backend {name!r} needs the package {error.name}, which is not installed. Install otel-llm[all], "
            "or that package."
        ) from error


def _look_for(packages: tuple[str, ...]) -> None:
    """Raise `ModuleNotFoundError` for a package that is not installed; none is loaded to know."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


# Each factory imports what it needs when it is called, and not before.
# ruff: noqa: PLC0415


def _console(config: Config) -> Backend:
    from otel_llm.backends.console import create

    return create(config)


def _file(config: Config) -> Backend:
    from otel_llm.backends.file import create

    return create(config)


def _local(config: Config) -> Backend:
    from otel_llm.backends.local import LocalBackend

    return LocalBackend(config.store_path)


def _none(config: Config) -> Backend:
    from otel_llm.backends.none import create

    return create(config)


def _opik(config: Config) -> Backend:
    from otel_llm.backends.opik.backend import OpikBackend, OpikOptions

    opik = config.opik
    return OpikBackend(
        OpikOptions(
            url=opik.url,
            api_key=opik.api_key,
            workspace=opik.workspace,
            project=opik.project,
            service=config.service_name,
            tenants=opik.tenants,
            check_tls=opik.check_tls,
        )
    )


def _opik_otlp(config: Config) -> Backend:
    from otel_llm.backends.otlp import create_for_opik

    return create_for_opik(config)


def _otlp(config: Config) -> Backend:
    from otel_llm.backends.otlp import create

    return create(config)


_FACTORIES: Final[dict[str, Callable[[Config], Backend]]] = {
    "local": _local,
    "console": _console,
    "file": _file,
    "otlp": _otlp,
    "opik": _opik,
    "opik-otlp": _opik_otlp,
    "none": _none,
}

_LOADED_LATE: Final = {
    "otlp": ("google.protobuf", "urllib3"),
    "opik": ("google.protobuf", "urllib3"),
    "opik-otlp": ("google.protobuf", "urllib3"),
}

NAMES: Final = tuple(_FACTORIES)
"""Every name that `build` knows."""
