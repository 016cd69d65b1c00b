#!/usr/bin/env python3
"""Make `otel_llm/conformance/conventions.json` from the snapshot of the GenAI semantic conventions.

    scripts/conventions.py [SNAPSHOT]           write the file
    scripts/conventions.py --check [SNAPSHOT]   exit 1 when the file differs from what would be written

SNAPSHOT is a folder laid out as `../shared/reference/data/semconv` (its SOURCES.md says where each part was fetched).
Kept are names, types, well-known values, requirement levels and JSON schemas; prose is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

_ROOT = Path(__file__).resolve().parents[1]
_TARGET = _ROOT / "otel_llm" / "conformance" / "conventions.json"
_SNAPSHOT = _ROOT.parent / "shared" / "reference" / "data" / "semconv"

_REGISTRY = "current-2026-11/genai-registry.json"
_STRICT = "current-2026-11/strict-{}"
_SCHEMAS = "genai-main-2026-08-03/model/gen-ai/{}"
_CORE = "core-main-2026-08-20-deprecated/model/{}/registry.yaml"

_ABOUT = {
    "what": "The GenAI semantic conventions as otel_llm checks them; made by scripts/conventions.py.",
    "state": "November 2026 (the conventions have no release yet; all of it is in development)",
    "license": "Apache-2.0, The OpenTelemetry Authors",
    "sources": [
        "https://github.com/open-telemetry/semantic-conventions-genai, main of 2026-08-03 (fe5608e) with later files",
        "https://github.com/open-telemetry/semantic-conventions, main of 2026-08-20 (384d6616): core attributes",
    ],
}

_SPAN_OF_OPERATION = {
    "gen_ai.client.inference": ["chat", "generate_content", "text_completion"],
    "gen_ai.client.embeddings": ["embeddings"],
    "gen_ai.retrieval.client": ["retrieval"],
    "gen_ai.fetch_response.client": ["fetch_response"],
    "gen_ai.memory.client": [
        "create_memory_store",
        "delete_memory_store",
        "create_memory",
        "update_memory",
        "upsert_memory",
        "search_memory",
        "delete_memory",
    ],
    "gen_ai.create_agent.client": ["create_agent"],
    "gen_ai.invoke_agent.client": ["invoke_agent"],
    "gen_ai.invoke_agent.internal": ["invoke_agent"],
    "gen_ai.execute_tool.internal": ["execute_tool"],
    "gen_ai.invoke_workflow.internal": ["invoke_workflow"],
    "gen_ai.plan.internal": ["plan"],
}
"""Which operations each type of span records: the conventions say so in prose only."""

_MISSPELT_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "google": "gcp.gen_ai",
    "google_genai": "gcp.gen_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
    "watsonx": "ibm.watsonx.ai",
    "moonshot": "moonshot_ai",
    "cohere_chat": "cohere",
}
"""Spellings in the field of providers that have a well-known name, which must be used then."""


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("snapshot", nargs="?", type=Path, default=_SNAPSHOT)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    made = text_of(arguments.snapshot)
    if not arguments.check:
        _TARGET.write_text(made, encoding="utf-8")
        return 0
    if _TARGET.exists() and _TARGET.read_text(encoding="utf-8") == made:
        return 0
    sys.stderr.write(f"{_TARGET} is not what {Path(__file__).name} makes of {arguments.snapshot}; run it again.\n")
    return 1


def text_of(snapshot: Path) -> str:
    """The file's text, one entry of each table per line."""
    tables = []
    for name, table in conventions(snapshot).items():
        entries = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
        tables.append(f" {json.dumps(name)}: {{\n" + ",\n".join(entries) + "\n }")
    return "{\n" + ",\n".join(tables) + "\n}\n"


def conventions(snapshot: Path) -> dict[str, dict[str, Any]]:
    """Everything that is kept."""
    registry = json.loads((snapshot / _REGISTRY).read_text(encoding="utf-8"))
    attributes = {**_core_attributes(snapshot), **registry["attributes"]}
    schemas = {
        name: _schema(snapshot, facts["json_schema"]) for name, facts in attributes.items() if "json_schema" in facts
    }
    return {
        "about": {**_ABOUT, "schema_url": registry["schema_url"]["declared_by_repo"].split(" ", 1)[0]},
        "attributes": {name: _attribute(facts) for name, facts in sorted(attributes.items())},
        "spans": {name: _span(name, facts) for name, facts in registry["spans"].items()},
        "events": dict.fromkeys(sorted(registry["events"]), True),
        "renamed": {**registry["vendor_aliases"], **registry["renamed"]},
        "providers": _MISSPELT_PROVIDERS,
        "schemas": schemas,
    }


def _core_attributes(snapshot: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for folder in ("error", "server", "session", "user"):
        document = yaml.safe_load((snapshot / _CORE.format(folder)).read_text(encoding="utf-8"))
        for attribute in _rows(document):
            kind = attribute["type"]
            open_enum = isinstance(kind, dict)  # of error.type, whose only member is the fallback
            found[attribute.get("id") or attribute["key"]] = {"type": "string" if open_enum else kind}
    return found


def _rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The attributes of a registry file, in its older (`groups`) or newer (`attributes`) layout."""
    if "attributes" in document:
        return list(document["attributes"])
    return [attribute for group in document["groups"] for attribute in group["attributes"]]


def _attribute(facts: dict[str, Any]) -> dict[str, Any]:
    kept = {key: facts[key] for key in ("type", "values", "subset_of") if key in facts}
    if facts.get("used_on") == "metrics only" or "removed" in facts.get("status", ""):
        kept["metrics_only"] = True
    return kept


def _span(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    levels = {attribute: rule["level"] for attribute, rule in facts["attributes"].items()}
    return {"kind": facts["kind"], "name": facts["name"], "operations": _SPAN_OF_OPERATION[name], "levels": levels}


def _schema(snapshot: Path, name: str) -> Any:
    strict = snapshot / _STRICT.format(name)
    path = strict if strict.exists() else snapshot / _SCHEMAS.format(name)
    return _by_known_type(_without_prose(json.loads(path.read_text(encoding="utf-8"))))


def _by_known_type(schema: Any) -> Any:
    """Hold an item of a known `type` to that type's definition.

    The official schemas let any object with a `type` pass as a generic item, so a wrong `text` part is accepted.
    """
    items = schema.get("items")
    if not isinstance(items, dict) or "anyOf" not in items:
        return schema
    definitions = schema["$defs"]
    names = [choice["$ref"].rpartition("/")[2] for choice in items["anyOf"]]
    known = {definitions[name]["properties"]["type"].get("const"): name for name in names}
    generic = known.pop(None, None)
    rules = [
        {"if": {"properties": {"type": {"const": word}}}, "then": {"$ref": f"#/$defs/{name}"}}
        for word, name in known.items()
    ]
    base = {"$ref": f"#/$defs/{generic}"} if generic else {"required": ["type"]}
    return {**schema, "items": {"type": "object", "allOf": [base, *rules]}}


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: (
            {name: _without_prose(item) for name, item in value.items()}
            if key in {"properties", "$defs"}
            else _without_prose(value)
        )
        for key, value in schema.items()
        if key not in {"title", "default"} and not (key == "description" and isinstance(value, str))
    }


if __name__ == "__main__":
    sys.exit(main())
