"""What one row of the table of settings says."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.config.aliases import Alias

__all__ = ["Kind", "Setting"]

_ENV_PREFIX: Final = "OTEL_LLM_"


class Kind(str, Enum):
    """What a setting's value is; the text is what the reference page calls it."""

    BOOL = "true or false"
    INT = "whole number"
    FLOAT = "number"
    TEXT = "text"
    CHOICE = "one of"
    LIST = "list of"
    PATH = "path"
    URL = "URL"
    MAPPING = "names and values"
    TABLE = "table (in the environment: JSON on one line)"


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    kind: Kind
    default: object
    """None where there is none, or where all of it is worked out."""
    about: str
    """One sentence: what it does."""
    unit: str = ""
    aliases: tuple[Alias, ...] = ()
    choices: tuple[str, ...] = ()
    spellings: Mapping[str, str] = MappingProxyType({})
    """Other words for some of `choices`, in lower case."""
    at_least: float | None = None
    """The least number; of a text, the least number of characters."""
    at_most: float | None = None
    default_note: str = ""
    """How the default is worked out, in Markdown; empty where it is simply `default`."""
    secret: bool = False
    file_only: bool = False
    """True where the environment cannot hold the value (files and arguments can)."""

    @property
    def key(self) -> str:
        """The name as one Python word."""
        return self.name.replace(".", "_")

    @property
    def env(self) -> str:
        """The environment variable of ours."""
        return _ENV_PREFIX + self.key.upper()

    @property
    def group(self) -> str:
        """The table in a file, and the field of `Config`, that holds it; empty for the top level."""
        return self.name.rpartition(".")[0]
