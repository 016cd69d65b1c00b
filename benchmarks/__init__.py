"""Our cost beside everybody else's, in one run: `python -m benchmarks --help`, method in docs/performance.md."""
