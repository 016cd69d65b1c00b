"""Lists that other instrumentations flatten into many attributes, put together again.

`gen_ai.prompt.0.role`, `gen_ai.prompt.0.content` (OpenLLMetry) and
`llm.input_messages.0.message.role` (OpenInference) are one list of messages each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["indexed_list", "is_index"]


_LONGEST_INDEX: Final = 9
"""Digits; what is longer counts nothing that anybody could have sent."""


def indexed_list(attributes: Mapping[str, Any], prefix: str) -> list[Any]:
    """The list that is flattened under `prefix` (without a dot at its end), in the order of its indexes."""
    tree: dict[str, Any] = {}
    start = prefix + "."
    for key, value in attributes.items():
        if key.startswith(start) and is_index(key[len(start) :].partition(".")[0]):
            _put(tree, key[len(start) :].split("."), value)
    grown = _grow(tree)
    return grown if isinstance(grown, list) else []


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        branch = tree.setdefault(step, {})
        if not isinstance(branch, dict):
            branch = tree[step] = {}
        tree = branch
    if not isinstance(tree.get(path[-1]), dict):
        tree[path[-1]] = value


def _grow(tree: Any) -> Any:
    """Dicts whose keys are all indexes become lists."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(map(is_index, tree)):
        return [_grow(tree[key]) for key in sorted(tree, key=lambda step: (int(step), step))]
    return {key: _grow(value) for key, value in tree.items()}


def is_index(step: str) -> bool:
    """Whether a step of a key is an index; `isdigit` alone also takes a superscript, which is no number."""
    return step.isascii() and step.isdigit() and len(step) <= _LONGEST_INDEX
