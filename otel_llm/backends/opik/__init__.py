"""Spans into Opik over its REST API: ids, mapping, routing, HTTP and the backend itself.

`docs/opik.md` states every rule of the mapping; `tests/vectors/opik/` holds an example of each, for any language.
"""
