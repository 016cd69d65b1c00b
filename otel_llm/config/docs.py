"""Writes docs/settings.md from the table of settings: `python -m otel_llm.config.docs [--check]`.

`--check` writes nothing and fails when the page is stale; a test of the house runs the same comparison.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_llm.config.settings import GROUPS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_llm.config.settings import Setting

__all__ = ["PAGE", "main", "page"]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "settings.md"

_INTRODUCTION: Final = """\
# Settings

<!-- Written by `python -m otel_llm.config.docs` from otel_llm/config/settings.py; change it there. -->

Every setting can come from four places. The first one that names it wins, and `otel-llm config show` prints which
one that was:

1. **Arguments**: `otel_llm.configure(backend="opik", otlp_endpoint="http://collector:4318")`.
2. **Environment**: `OTEL_LLM_` and the name in capitals, dots as underscores: `OTEL_LLM_OTLP_ENDPOINT`. A list is
   separated by commas; true is one of `1`, `true`, `yes`, `on`, false one of `0`, `false`, `no`, `off`. An empty
   variable counts as unset.
3. **A file**: the one that `OTEL_LLM_CONFIG` names; else `otel-llm.toml` in the working directory; else the table
   `[tool.otel-llm]` of `pyproject.toml` there. Only the first of them is read. A dot in a name is a table:

   ```toml
   backend = ["local", "opik"]
   content = "on"

   [opik]
   project = "support-bot"

   [opik.tenants]
   acme = "acme-production"
   ```

   Relative paths start at the file's own directory; those of the other places at the working directory.
4. **Defaults**, as below.

"Also read" names variables of OpenTelemetry and Opik that are understood as well. If our own variable and
one of these differ, ours wins; of two of these, the one listed first. `~/.opik.config` (section `[opik]`, or the file
that `OPIK_CONFIG_PATH` names) comes after our own file and before the defaults, for `opik.url`, `opik.api_key`,
`opik.workspace` and `opik.project`.

A setting that does not exist, cannot be read or contradicts another is an error (exit code 2 of `otel-llm`), and one
error lists all of them. Besides plain mistakes these contradict each other:

- `none` in `backend` beside another name;
- `batch_size` above `batch_queue_size`, or `max_value_bytes` above `max_span_bytes`;
- `enabled` set to true while `OTEL_SDK_DISABLED=true`, with which the OpenTelemetry SDK records nothing;
- `opik` or `opik-otlp` in `backend` while `OPIK_ENABLED=false` or `OPIK_TRACK_DISABLE=true`.

Variables and files of others are checked only where they matter: a wrong `OTEL_EXPORTER_OTLP_PROTOCOL` is no error
as long as `otlp` is not among the backends and `metrics.export` is not `otlp`. API keys, OTLP headers, and user,
password and query of a URL are masked wherever settings are shown.
"""

_ENDING: Final = """\
## Verify

```console
$ otel-llm config show
setting               value                                    source
--------------------  ---------------------------------------  -------
enabled               true                                     default
backend               local                                    default
...
```

The column `source` says `argument`, `environment NAME`, `file PATH`, `opik.api_key` (an address taken from inside
the key) or `default`. `otel-llm config show --json` prints the same for programs. Arguments of `configure` are known
only inside the program that calls it.

## Troubleshooting

- **`there is no such setting; did you mean ...`**: the name is misspelt, or belongs into a table such as `[otlp]`.
  Names that begin with `OTEL_LLM_` are ours alone, so an unknown one is an error and not ignored.
- **A value in the file has no effect**: look at `source`. A variable in the environment wins over the file, and
  `otel-llm.toml` hides `[tool.otel-llm]`.
- **`'true' is not a mode of capturing content`**: `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` takes the words
  of the conventions, `SPAN_ONLY` or `NO_CONTENT`. `OTEL_LLM_CONTENT=on` says the same.
- **`... is not a web address`**: write the scheme too, `http://collector:4318`.
- **A header is cut or refused**: commas separate headers; write one inside a value as `%2C`, and a space as `%20`.
- **`otlp.timeout ... is too large`**: like the Python SDK we read `OTEL_EXPORTER_OTLP_TIMEOUT` as seconds; the
  specification's milliseconds do not apply.
- **Spans go to the wrong Opik**: `otel-llm config show` names where `opik.url` came from. `~/.opik.config` counts too.
"""


def page() -> str:
    """The whole reference page in Markdown."""
    sections = "\n".join(_section(heading, settings) for heading, settings in GROUPS.items())
    return f"{_INTRODUCTION}\n{sections}\n{_ENDING}"


def _section(heading: str, settings: Sequence[Setting]) -> str:
    return (
        "\n".join([f"## {heading}", "", *(line for setting in settings for line in _entry(setting)), ""]).rstrip()
        + "\n"
    )


def _entry(setting: Setting) -> Iterator[str]:
    yield f"### `{setting.name}`"
    yield ""
    yield setting.about
    yield ""
    yield f"- Value: {_kind(setting)}"
    yield f"- Default: {_default(setting)}"
    yield f"- Environment: {'not possible' if setting.file_only else f'`{setting.env}`'}"
    if setting.aliases:
        words = (f"`{alias.variable}`{f' ({alias.note})' if alias.note else ''}" for alias in setting.aliases)
        yield f"- Also read: {', '.join(words)}"
    yield ""


def _kind(setting: Setting) -> str:
    text = setting.kind.value
    if setting.choices:
        text += ", each value one of " if setting.kind is Kind.MAPPING else " "
        text += ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.unit and setting.kind is not Kind.TEXT:
        text += f" of {setting.unit}" if setting.kind is Kind.INT else f", in {setting.unit}"
    limits = (("at least", setting.at_least), ("at most", setting.at_most))
    unit = f" {setting.unit}" if setting.kind is Kind.TEXT else ""
    text += "".join(f", {word} {limit:.16g}{unit}" for word, limit in limits if limit is not None)
    return text + (", secret" if setting.secret else "")


def _default(setting: Setting) -> str:
    if setting.default_note:
        return setting.default_note
    if setting.default is None:
        return "none"
    if isinstance(setting.default, bool):
        return f"`{str(setting.default).lower()}`"
    if isinstance(setting.default, tuple):
        return f"`{','.join(setting.default)}`"
    return f"`{setting.default}`"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or with `--check` only compare it; the exit code is 1 when it is stale."""
    parser = argparse.ArgumentParser(prog="python -m otel_llm.config.docs", description="Write docs/settings.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    parser.add_argument("--page", type=Path, default=PAGE, help="the file (default: docs/settings.md of the checkout)")
    args = parser.parse_args(argv)
    if not args.check:
        args.page.write_text(page(), encoding="utf-8")
        return 0
    if args.page.is_file() and args.page.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write(f"{args.page} is stale; run `python -m otel_llm.config.docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
