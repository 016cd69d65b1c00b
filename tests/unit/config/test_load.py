"""Where each setting's value comes from, and what happens to one that is wrong."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path

import pytest

from otel_llm.config import SETTINGS, Config, defaults, load
from otel_llm.config.settings import Kind
from otel_llm.errors import ConfigError, UnknownSettingError


class Place:
    """An empty directory that is both home and working directory, and an environment of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, arguments: dict[str, object] | None = None, **environ: str) -> Config:
        return load(arguments, environ={"HOME": str(self.directory), **environ}, directory=self.directory)

    def error(self, arguments: dict[str, object] | None = None, **environ: str) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(arguments, **environ)
        return str(caught.value)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Somewhere without any setting."""
    return Place(tmp_path)


# --- precedence ----------------------------------------------------------------------------------------------


def test_arguments_win_over_environment_over_file_over_defaults(place: Place) -> None:
    """Taking the sources away one by one uncovers the next one, and each value knows its source."""
    file = place.write("otel-llm.toml", 'backend = ["file"]')
    seen = []
    for arguments, environ in (
        ({"backend": ["opik"]}, {"OTEL_LLM_BACKEND": "console"}),
        ({}, {"OTEL_LLM_BACKEND": "console"}),
        ({}, {}),
    ):
        config = place.load(arguments, **environ)
        seen.append((config.backend, config.source("backend")))
    file.unlink()
    config = place.load()
    seen.append((config.backend, config.source("backend")))
    assert seen == [
        (("opik",), "argument"),
        (("console",), "environment OTEL_LLM_BACKEND"),
        (("file",), f"file {file}"),
        (("local",), "default"),
    ]


def test_an_argument_that_is_none_and_an_empty_variable_were_not_given(place: Place) -> None:
    """None and an empty text leave the next source its say."""
    place.write("otel-llm.toml", 'service_name = "from-file"')
    assert place.load({"service_name": None}, OTEL_LLM_SERVICE_NAME="").service_name == "from-file"


def test_the_process_environment_and_working_directory_are_the_default(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`load()` without anything reads os.environ and the working directory."""
    place.write("otel-llm.toml", "batch_size = 7")
    monkeypatch.chdir(place.directory)
    monkeypatch.setenv("OTEL_LLM_BATCH_DELAY", "5")
    assert (load().batch_size, load().batch_delay) == (7, 5)


def test_our_variable_wins_over_an_alias_and_the_first_alias_over_the_next(place: Place) -> None:
    """Two variables that differ are settled by a fixed order."""
    both = {"OPIK_PROJECT_NAME": "name", "OPIK_PROJECT": "short"}
    assert place.load(**both, OTEL_LLM_OPIK_PROJECT="ours").opik.project == "ours"
    config = place.load(**both)
    assert (config.opik.project, config.source("opik.project")) == ("name", "environment OPIK_PROJECT_NAME")
    assert place.load(OPIK_PROJECT="short").opik.project == "short"


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_every_setting_can_be_read_by_its_name_and_knows_its_source(name: str, place: Place) -> None:
    """The table and the typed `Config` hold the same settings."""
    config = place.load()
    assert config.source(name) == "default"
    config.get(name)


SAMPLES = {
    Kind.BOOL: "yes",
    Kind.TEXT: "some words of text",
    Kind.PATH: "/p",
    Kind.URL: "https://h/p",
    Kind.MAPPING: "a=b",
    Kind.TABLE: "{}",
}


@pytest.mark.parametrize("setting", [one for one in SETTINGS if not one.file_only], ids=lambda one: one.name)
def test_every_setting_can_be_set_by_its_variable(setting: object, place: Place) -> None:
    """Each `OTEL_LLM_*` name of the table is read."""
    number = f"{setting.at_least or 1:.16g}"
    text = setting.choices[0] if setting.choices else SAMPLES.get(setting.kind, number)
    if setting.kind is Kind.MAPPING and (setting.choices or setting.at_least is not None):
        text = f"a={text if setting.choices else number}"
    assert place.load(**{setting.env: text}).source(setting.name) == f"environment {setting.env}"


def test_a_directory_that_may_not_be_entered_holds_no_settings(place: Place) -> None:
    """A working directory or home of somebody else's is no error: what may lie in it was not meant for us."""
    place.write("otel-llm.toml", 'backend = "file"')
    place.directory.chmod(0)
    me = os.geteuid()
    try:
        if me == 0:  # root may enter every directory
            os.seteuid(54321)
        assert place.load().source("backend") == "default"
    finally:
        os.seteuid(me)
        place.directory.chmod(0o700)


def test_a_pseudonym_key_that_can_be_guessed_is_refused_and_not_shown(place: Place) -> None:
    """Fewer than 16 characters are an error at once, which does not repeat them."""
    sentence = place.error({"pseudonym_key": "hunter2"})
    assert "pseudonym_key (argument): has 7 characters" in sentence
    assert "give it 16 or more" in sentence
    assert "hunter2" not in sentence
    assert place.load({"pseudonym_key": "x" * 16}).pseudonym_key == "x" * 16


def test_names_of_arguments_may_be_dotted_underscored_or_nested(place: Place) -> None:
    """The three spellings of a setting in a table mean the same; two of them at once are an error."""
    spellings = [{"otlp.timeout": 3}, {"otlp_timeout": 3}, {"otlp": {"timeout": 3}}]
    assert [place.load(one).otlp.timeout for one in spellings] == [3.0] * 3
    assert "given twice" in place.error({"otlp.timeout": 3, "otlp_timeout": 4})


def test_a_mapping_to_numbers_takes_numbers_in_range_only(place: Place) -> None:
    """`sampling.tenants` as TOML's numbers or as text; what is no ratio is an error that names the range."""
    place.write("otel-llm.toml", "[sampling.tenants]\nacme = 0.25\nzero = 0\n")
    assert dict(place.load().sampling.tenants) == {"acme": "0.25", "zero": "0.0"}
    assert "the most is 1" in place.error(OTEL_LLM_SAMPLING_TENANTS="acme=2")
    assert "is not a number" in place.error(OTEL_LLM_SAMPLING_TENANTS="acme=half")


# --- files ---------------------------------------------------------------------------------------------------


def test_tables_of_a_file_are_dotted_names(place: Place) -> None:
    """`[otlp]`, `[opik.tenants]` and `[otlp.headers]` reach their settings with TOML's own types."""
    place.write(
        "otel-llm.toml",
        """
        instrument = ["litellm"]
        http_spans = false
        [otlp]
        timeout = 2
        headers = { Authorization = "Bearer x" }
        [opik.tenants]
        acme = "acme-production"
        """,
    )
    config = place.load()
    assert config.instrument == ("litellm",)
    assert config.http_spans is False
    assert config.otlp.timeout == 2.0
    assert config.otlp.headers == {"authorization": "Bearer x"}
    assert config.opik.tenants == {"acme": "acme-production"}


def test_pyproject_is_read_when_it_has_our_table(place: Place) -> None:
    """`[tool.otel-llm]` counts; a pyproject of others, even a broken one, does not disturb."""
    path = place.write("pyproject.toml", '[tool.otel-llm]\nservice_name = "svc"\n')
    assert place.load().source("service_name") == f"file {path}"
    place.write("pyproject.toml", "this is [not TOML")
    assert place.load().source("service_name") == "default"
    place.write("pyproject.toml", '[project]\nname = "otel-llm"\n')
    assert place.load().source("service_name") == "default"


@pytest.mark.parametrize("name", ["otel_llm", "otelllm"])
def test_a_table_named_after_the_package_is_an_error(place: Place, name: str) -> None:
    """`[tool.otel_llm]` would be silently ignored otherwise; a pyproject that only names the package is not read."""
    place.write("pyproject.toml", f"[tool.{name}]\ncontent = 'on'\n")
    assert f"[tool.{name}] (file " in place.error()
    assert place.error().endswith("there is no such setting; write [tool.otel-llm]")
    place.write("pyproject.toml", f"[tool.other]\npackages = ['{name}']\nthis is [not TOML")
    assert place.load().source("content") == "default"


@pytest.mark.parametrize("table", ["otel-llm", "otel_llm", "tool.otel-llm"])
def test_our_own_file_has_no_table_around_it(place: Place, table: str) -> None:
    """What is copied from a pyproject with its heading says that the heading must go."""
    place.write("otel-llm.toml", f"[{table}]\ncontent = 'on'\n")
    assert "write its settings without that table" in place.error()


def test_a_byte_order_mark_is_no_mistake(place: Place) -> None:
    """Editors on Windows begin a file with one."""
    place.write("otel-llm.toml", "\ufeffbatch_size = 3\n")
    assert place.load().batch_size == 3


def test_a_directory_in_the_files_place_is_said(place: Place) -> None:
    """Permissions are not what is wrong with it."""
    (place.directory / "otel-llm.toml").mkdir()
    assert "move it away" in place.error()


def test_a_wrong_number_names_its_unit_in_words(place: Place) -> None:
    """A unit written behind the number is what is usually wrong."""
    assert "'2s' is not a number of seconds" in place.error(OTEL_LLM_SHUTDOWN_TIMEOUT="2s")
    assert "'1ms' is not a whole number of milliseconds" in place.error(OTEL_LLM_BATCH_DELAY="1ms")


def test_a_backend_that_is_read_without_being_configured_is_held_to_be_right(place: Place) -> None:
    """What is wrong about it counts as soon as somebody is going to use it, and does not otherwise."""
    wrong = {"OTEL_LLM_BACKEND": "local", "OPIK_URL_OVERRIDE": "junk"}
    assert place.load(**wrong).opik.url.startswith("https://www.comet.com/")
    with pytest.raises(ConfigError, match="OPIK_URL_OVERRIDE"):
        load(environ={"HOME": str(place.directory), **wrong}, directory=place.directory, reads=("opik",))


def test_otel_llm_toml_hides_pyproject(place: Place) -> None:
    """Only the first file that exists is read."""
    place.write("pyproject.toml", "[tool.otel-llm]\nbatch_size = 1\nbatch_delay = 1\n")
    place.write("otel-llm.toml", "batch_size = 2\n")
    config = place.load()
    assert (config.batch_size, config.batch_delay) == (2, 200)


def test_the_named_file_is_read_and_must_exist(place: Place) -> None:
    """`OTEL_LLM_CONFIG` names the one file; a missing one is an error and not ignored."""
    path = place.write("elsewhere/settings.toml", "batch_size = 3")
    place.write("otel-llm.toml", "batch_size = 2")
    assert place.load(OTEL_LLM_CONFIG=str(path)).batch_size == 3
    assert place.load(OTEL_LLM_CONFIG="elsewhere/settings.toml").batch_size == 3
    assert "which does not exist" in place.error(OTEL_LLM_CONFIG="nowhere.toml")


def test_a_broken_file_is_an_error_that_hides_its_content(place: Place) -> None:
    """Bad TOML is reported with its place, never with the line, which may hold a key."""
    path = place.write("otel-llm.toml", "[opik]\napi_key = s3cret\n")
    message = place.error()
    assert f"{path} (file): is not TOML: there is a mistake (at line 2, column 11)" in message
    assert "s3cret" not in message
    path.write_bytes(b"a = '\xff'")
    assert "not UTF-8" in place.error()


def test_relative_paths_start_at_the_place_that_names_them(place: Place) -> None:
    """In a file they start at the file, elsewhere at the working directory; `~` is the home directory."""
    path = place.write("elsewhere/settings.toml", 'store_path = "s.db"')
    config = place.load({"file_path": "~/f.jsonl"}, OTEL_LLM_CONFIG=str(path), OTEL_LLM_STATE_DIR="state")
    assert config.store_path == path.parent / "s.db"
    assert config.state_dir == place.directory / "state"
    assert config.file_path == Path.home() / "f.jsonl"


# --- the variables of others ---------------------------------------------------------------------------------

TRANSLATED = [
    ("OTEL_SDK_DISABLED", "true", "enabled", False),
    ("OTEL_SERVICE_NAME", "svc", "service_name", "svc"),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=my%20svc", "service_name", "my svc"),
    ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod", "environment", "prod"),
    ("OPIK_ENVIRONMENT", "staging", "environment", "staging"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only", "content", "on"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_AND_EVENT", "content", "on"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "Event_Only", "content", "off"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "NO_CONTENT", "content", "off"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "otlp.protocol", "grpc"),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "deflate", "otlp.compression", "deflate"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "X-Key=a%2Cb, Y=2=3", "otlp.headers", {"x-key": "a,b", "y": "2=3"}),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5", "otlp.timeout", 2.5),
    ("OPIK_URL_OVERRIDE", "http://localhost:5173/api", "opik.url", "http://localhost:5173/api"),
    ("OPIK_API_KEY", "k\n", "opik.api_key", "k"),
    ("OPIK_WORKSPACE", "w", "opik.workspace", "w"),
    ("OPIK_CHECK_TLS_CERTIFICATE", "False", "opik.check_tls", False),
    ("OPIK_ENABLED", "true", "backend", ("opik",)),
]


@pytest.mark.parametrize(("variable", "text", "name", "expected"), TRANSLATED)
def test_variables_that_people_have_are_understood(
    variable: str, text: str, name: str, expected: object, place: Place
) -> None:
    """OpenTelemetry's and Opik's own variables set the matching setting, and the source names them."""
    config = place.load(**{variable: text})
    assert (config.get(name), config.source(name)) == (expected, f"environment {variable}")


def test_variables_that_say_nothing_leave_the_file_its_say(place: Place) -> None:
    """`OTEL_SDK_DISABLED=false` and resource attributes without our names set nothing."""
    place.write("otel-llm.toml", 'enabled = false\nservice_name = "svc"')
    config = place.load(OTEL_SDK_DISABLED="false", OTEL_RESOURCE_ATTRIBUTES="team=a,broken")
    assert (config.enabled, config.service_name) == (False, "svc")


def test_opik_enabled_speaks_only_when_nobody_else_does(place: Place) -> None:
    """A backend that a file names is not overruled by `OPIK_ENABLED=true`."""
    place.write("otel-llm.toml", 'backend = "console"')
    assert place.load(OPIK_ENABLED="true").backend == ("console",)


def test_a_wrong_word_for_content_names_the_right_ones(place: Place) -> None:
    """`true` was right in older versions of the conventions; the error says what to write today."""
    message = place.error(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true")
    assert "SPAN_ONLY" in message
    assert "NO_CONTENT" in message


def test_variables_of_others_are_judged_only_where_they_matter(place: Place) -> None:
    """A protocol for somebody else's exporter is no error until our otlp backend would have to use it."""
    assert place.load(OTEL_EXPORTER_OTLP_PROTOCOL="http/json").otlp.protocol == "http/protobuf"
    for reader in ({"backend": "otlp"}, {"metrics.export": "otlp"}):
        message = place.error(reader, OTEL_EXPORTER_OTLP_PROTOCOL="http/json")
        assert "otlp.protocol (environment OTEL_EXPORTER_OTLP_PROTOCOL): 'http/json' is not known" in message
    assert "OTEL_LLM_OTLP_PROTOCOL" in place.error(OTEL_LLM_OTLP_PROTOCOL="http/json")


URLS = [
    ({}, "http://127.0.0.1:4318/v1/traces"),
    ({"OTEL_LLM_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
    ({"OTEL_LLM_OTLP_ENDPOINT": "https://c/own/path"}, "https://c/own/path"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c/base/"}, "http://c/base/v1/traces"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c/v1/traces"}, "http://c/v1/traces"),
    ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/own", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://d"}, "http://c/own"),
]


@pytest.mark.parametrize(("environ", "expected"), URLS)
def test_the_path_for_traces_is_added_where_it_is_missing(environ: dict[str, str], expected: str, place: Place) -> None:
    """A base address gets `/v1/traces`, a full one stays, as the OTLP exporter specification has it."""
    assert place.load(**environ).otlp.traces_url == expected


# --- Opik's own file -----------------------------------------------------------------------------------------


def test_opiks_file_comes_after_ours_and_before_defaults(place: Place) -> None:
    """What `opik configure` wrote is used, percent signs and all, unless a variable or our file says more."""
    file = place.write(".opik.config", "[opik]\nurl_override = http://o/api\napi_key = k%y\nworkspace = w\n")
    config = place.load(OPIK_WORKSPACE="env")
    assert (config.opik.url, config.opik.api_key, config.opik.workspace) == ("http://o/api", "k%y", "env")
    assert config.source("opik.api_key") == f"file {file}"
    place.write("otel-llm.toml", '[opik]\napi_key = "ours"')
    assert place.load().opik.api_key == "ours"


def test_a_broken_file_of_opiks_matters_only_to_opik(place: Place) -> None:
    """A file that is no INI stops a program that sends to Opik, no other, and its content stays hidden."""
    place.write("own.ini", "s3cret without a section")
    assert place.load(OPIK_CONFIG_PATH=str(place.directory / "own.ini")).backend == ("local",)
    message = place.error({"backend": "opik"}, OPIK_CONFIG_PATH=str(place.directory / "own.ini"))
    assert "is not an INI file" in message
    assert "s3cret" not in message
    assert "does not exist" in place.error({"backend": "opik"}, OPIK_CONFIG_PATH="/nowhere/opik")


def test_a_key_that_carries_its_server_sets_the_address(place: Place) -> None:
    """Opik's long keys name their server; it is used when no address is configured, and named as the source."""
    inside = base64.b64encode(json.dumps({"baseUrl": "https://own.example/"}).encode()).decode().rstrip("=")
    config = place.load(OPIK_API_KEY=f"key*{inside}")
    assert (config.opik.url, config.source("opik.url")) == ("https://own.example/opik/api/", "opik.api_key")
    assert place.load(OPIK_API_KEY=f"key*{inside}", OPIK_URL_OVERRIDE="http://o/").opik.url == "http://o/"
    for odd in ("key*", "key*%%%", "key*bm90IGpzb24=", "key*e30=", "key*WzFd"):
        assert place.load(OPIK_API_KEY=odd).opik.url == "https://www.comet.com/opik/api/"


# --- defaults that are worked out ----------------------------------------------------------------------------

PROGRAMS = [
    (["/srv/app.py"], "app"),
    (["/srv/shop/__main__.py"], "shop"),
    (["/usr/bin/gunicorn"], "gunicorn"),
    (["-c"], "unknown_service"),
    ([""], "unknown_service"),
    ([], "unknown_service"),
]


@pytest.mark.parametrize(("argv", "expected"), PROGRAMS)
def test_the_service_is_named_after_the_program(
    argv: list[str], expected: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Script, package and installed command give the name; a bare interpreter is `unknown_service`."""
    monkeypatch.setattr("sys.argv", argv)
    assert place.load().service_name == expected


def test_the_service_is_named_after_a_module_that_is_only_about_to_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At start-up with `python -m shop.worker`, Python's own `-m` is not taken for a name."""
    monkeypatch.setattr("sys.argv", ["-m"])
    monkeypatch.setattr("sys.orig_argv", ["python", "-X", "dev", "-m", "shop.worker"])
    assert place.load().service_name == "shop.worker"


def test_defaults_follow_the_settings_they_depend_on(place: Place) -> None:
    """Files lie in the state directory, gRPC has its own port, and smaller limits pull others down."""
    config = place.load({"state_dir": "/s", "otlp.protocol": "grpc", "batch_queue_size": 10, "max_span_bytes": 2048})
    assert (config.store_path, config.file_path) == (Path("/s/store.db"), Path("/s/spans.jsonl"))
    assert config.otlp.endpoint == "http://127.0.0.1:4317"
    assert (config.batch_size, config.max_value_bytes) == (10, 2048)


@pytest.mark.parametrize(
    ("system", "variables", "directory"),
    [
        ("linux", {}, "/home/me/.local/state/otel-llm"),
        ("linux", {"XDG_STATE_HOME": "/state"}, "/state/otel-llm"),
        ("linux", {"XDG_STATE_HOME": "relative"}, "/home/me/.local/state/otel-llm"),
        ("darwin", {"XDG_STATE_HOME": "/state"}, "/home/me/Library/Application Support/otel-llm"),
        ("win32", {"LOCALAPPDATA": "/data"}, "/data/otel-llm"),
    ],
)
def test_the_state_directory_by_system(
    monkeypatch: pytest.MonkeyPatch, system: str, variables: dict[str, str], directory: str
) -> None:
    """Each system has its own place for what programs remember; XDG's variable counts where XDG does."""
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    assert defaults._state_dir({}).value == Path(directory)


def test_the_state_directory_is_the_users_own(place: Place) -> None:
    """Without a setting it is the user's state directory, never a shared temporary one."""
    assert place.load().state_dir.name == "otel-llm"
    assert place.load().state_dir.is_absolute()


# --- bad input -----------------------------------------------------------------------------------------------

UNKNOWN = [
    ({"bakend": "opik"}, {}, "bakend (argument): there is no such setting; did you mean 'backend'?"),
    ({"otlp": {"endpont": "x"}}, {}, "did you mean 'otlp.endpoint'?"),
    ({"otpl": {"endpoint": "x"}}, {}, "otpl (argument): there is no such setting; did you mean 'otlp'?"),
    ({"zzz": 1}, {}, "zzz (argument): there is no such setting; `otel-llm config show` lists all there are"),
    ({}, {"OTEL_LLM_BAKEND": "x"}, "OTEL_LLM_BAKEND (environment): there is no such setting; did you mean"),
    ({}, {"OTEL_LLM_CONFG": "x"}, "did you mean 'OTEL_LLM_CONFIG'?"),
    ({}, {"otel_llm_backend": "x"}, "did you mean 'OTEL_LLM_BACKEND'?"),
    ({}, {"OTEL_LLM_OPIK_PROJECT_NAME": "x"}, "did you mean 'OTEL_LLM_OPIK_PROJECT'?"),
]


@pytest.mark.parametrize(("arguments", "environ", "expected"), UNKNOWN)
def test_an_unknown_name_is_an_error_that_names_the_nearest(
    arguments: dict[str, object], environ: dict[str, str], expected: str, place: Place
) -> None:
    """A misspelt name in arguments or environment is never ignored."""
    with pytest.raises(UnknownSettingError) as caught:
        place.load(arguments, **environ)
    assert expected in str(caught.value)


def test_an_unknown_name_in_a_file_is_an_error_with_the_files_path(place: Place) -> None:
    """A misspelt name in a file is reported with the file, and its value is not."""
    path = place.write("otel-llm.toml", '[opik]\napi_kye = "s3cret"\n')
    message = place.error()
    assert message == f"opik.api_kye (file {path}): there is no such setting; did you mean 'opik.api_key'?"


def test_kubernetes_service_variables_are_not_settings(place: Place) -> None:
    """A cluster with a service called otel-llm puts variables into every pod that begin like ours."""
    place.load(
        OTEL_LLM_SERVICE_HOST="10.0.0.1",
        OTEL_LLM_SERVICE_PORT="4318",
        OTEL_LLM_SERVICE_PORT_OTLP_HTTP="4318",
        OTEL_LLM_PORT="tcp://10.0.0.1:4318",
        OTEL_LLM_PORT_4318_TCP_ADDR="10.0.0.1",
        OTEL_LLM_COLLECTOR_PORT_4318_TCP="tcp://10.0.0.1:4318",
    )


WRONG = [
    ("enabled", "maybe", "'maybe' is neither true nor false"),
    ("enabled", 1, "'1' is neither true nor false"),
    ("backend", "opick", "'opick' is not known; did you mean 'opik'? Known: local, console"),
    ("backend", "none,local", "names 'none' beside others"),
    ("backend", [], "names nothing"),
    ("backend", 5, "'5' is not a list of names"),
    ("backend", ["local", 5], "holds something that is not text"),
    ("service_name", 5, "is of type int, not text"),
    ("service_name", " ", "is empty"),
    ("service_name", "a\nb", "line break"),
    ("content", "maybe", "Known: off, metadata, on"),
    ("content", 1, "'1' is not one of off, metadata, on"),
    ("instrument", "litelm", "did you mean 'litellm'?"),
    ("batch_size", "many", "'many' is not a whole number of spans"),
    ("batch_size", 1.5, "'1.5' is not a whole number of spans"),
    ("batch_size", True, "'True' is not a whole number of spans"),
    ("batch_size", 0, "0 is too small; the least is 1, in spans"),
    ("health_port", 65536, "65536 is too large; the most is 65535"),
    ("health_port", -1, "too small"),
    ("export_timeout", 0, "too small"),
    ("export_timeout", "nan", "'nan' is not a number of s"),
    ("export_timeout", "inf", "'inf' is not a number of s"),
    ("otlp.timeout", 10_000, "10000 is too large; the most is 3600, in s"),
    ("spool.max_disk_share", 2, "too large"),
    ("state_dir", 5, "'5' is not a path"),
    ("state_dir", "", "is not a path"),
    ("state_dir", "a\0b", "is not a path"),
    ("otlp.endpoint", "localhost:4318", "such as http://localhost:4318"),
    ("otlp.endpoint", "ftp://h", "'ftp://h' is not a web address"),
    ("otlp.endpoint", "http://", "is not a web address"),
    ("otlp.endpoint", "http://h:99999", "host or port is malformed"),
    ("otlp.endpoint", "http://a b", "holds a space"),
    ("otlp.endpoint", 5, "is not a URL"),
    ("otlp.headers", "novalue", "entry 1 is not name=value"),
    ("otlp.headers", "a=1,=2", "entry 2 is not name=value"),
    ("otlp.headers", "a=b%0Ac", "line break"),
    ("otlp.headers", {"a": 1}, "entry 1 is not a name with a text"),
    ("otlp.headers", 5, "is of type int, not a table"),
    ("opik.tenants", {"acme": ["p"]}, "entry 1 is not a name with a text"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_a_wrong_value_is_an_error_that_says_what_to_write(
    name: str, value: object, expected: str, place: Place
) -> None:
    """Every malformed value is refused with its setting, its source and the cure."""
    message = place.error({name: value})
    assert message.startswith(f"{name} (argument): ")
    assert expected in message


def test_right_values_in_other_clothes_are_taken(place: Place) -> None:
    """Case, spaces, doubled names, booleans for on and off, and an empty list of instruments are all right."""
    config = place.load(
        {"backend": " Opik, LOCAL,opik", "content": True, "instrument": "none", "health_port": "0", "enabled": "ON"}
    )
    assert config.backend == ("opik", "local")
    assert (config.captures_content, config.instrument, config.health_port, config.enabled) == (True, (), 0, True)
    assert place.load({"instrument": []}).instrument == ()


CONTRADICTIONS = [
    ({"batch_size": 9, "batch_queue_size": 8}, {}, "9 is more than batch_queue_size (8)"),
    ({"max_value_bytes": 4096, "max_span_bytes": 2048}, {}, "4096 is more than max_span_bytes (2048)"),
    ({"backend": "opik"}, {"OPIK_ENABLED": "false"}, "OPIK_ENABLED=false turns it off"),
    ({"backend": "opik-otlp"}, {"OPIK_TRACK_DISABLE": "1"}, "OPIK_TRACK_DISABLE=1 turns it off"),
    ({}, {"OPIK_ENABLED": "true", "OPIK_TRACK_DISABLE": "true"}, "OPIK_TRACK_DISABLE=true turns it off"),
    ({"enabled": True}, {"OTEL_SDK_DISABLED": "true"}, "OTEL_SDK_DISABLED=true makes the SDK record nothing"),
]


@pytest.mark.parametrize(("arguments", "environ", "expected"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_an_error(
    arguments: dict[str, object], environ: dict[str, str], expected: str, place: Place
) -> None:
    """Two settings that cannot both hold are reported together, and neither is silently dropped."""
    assert expected in place.error(arguments, **environ)


def test_what_turns_opik_off_is_no_contradiction_without_opik(place: Place) -> None:
    """`OPIK_ENABLED=false` beside another backend is simply true."""
    assert place.load(OPIK_ENABLED="false", OPIK_TRACK_DISABLE="true").backend == ("local",)


def test_all_problems_are_reported_at_once(place: Place) -> None:
    """One error lists everything that is wrong, a line each, whatever the source."""
    path = place.write("otel-llm.toml", "batch_delay = 0\n")
    message = place.error({"bakend": "x"}, OTEL_LLM_BATCH_SIZE="0", OTEL_LLM_OPIK_TENANTS="a=b")
    head, *lines = message.splitlines()
    assert head == "4 settings are wrong:"
    assert [line.split("): ")[0].strip() + ")" for line in lines] == [
        "bakend (argument)",
        "opik.tenants (environment OTEL_LLM_OPIK_TENANTS)",
        "batch_size (environment OTEL_LLM_BATCH_SIZE)",
        f"batch_delay (file {path})",
    ]


def test_a_deleted_working_directory_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program whose directory was removed under it still gets its settings."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load(environ={"HOME": str(tmp_path)}).backend == ("local",)


def test_content_may_differ_by_tenant_and_operation_and_only_in_known_words(place: Place) -> None:
    """A table of modes is checked value by value; any mode but `off` anywhere means that content is read."""
    config = place.load(OTEL_LLM_CONTENT_TENANTS="acme=on,other=METADATA")
    assert dict(config.content_tenants) == {"acme": "on", "other": "metadata"}
    assert config.captures_content
    assert not place.load(OTEL_LLM_CONTENT_OPERATIONS="chat=off").captures_content
    assert "did you mean 'metadata'" in place.error({"content_tenants": {"acme": "metdata"}})
