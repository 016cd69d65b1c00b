"""Runs in the environment of the vendors: each case is a process of its own, forked from this one and ended as any is.

Reads a case per line (JSON) and answers with a line when its process has ended. litellm is imported once, here, with
whatever a vendor needs to have imported before it: that is what makes some thirty programs with litellm affordable.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata

ENVIRONMENTS = {"plain": {}, "ddtrace": {}, "ddtrace-otel": {"DD_TRACE_OTEL_ENABLED": "true"}}


def main() -> None:
    """Answer cases until there are no more."""
    os.environ.update(ENVIRONMENTS[sys.argv[1]])
    if sys.argv[1] != "plain":
        import ddtrace.auto  # noqa: F401
    import litellm  # noqa: F401

    from tests.interop.cases import VENDORS

    versions = {vendor.distribution: metadata.version(vendor.distribution) for vendor in VENDORS.values()}
    print(json.dumps({"versions": versions}), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(json.loads(line))
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


def run(given: dict[str, str]) -> None:
    """Be the program of one case; its output goes to files."""
    from tests.interop.cases import Case

    case = Case(**given)
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(os.path.join(case.directory, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    from tests.interop.vendors import Program

    Program(case).run()


if __name__ == "__main__":
    main()
