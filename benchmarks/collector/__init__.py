"""How much the Collector carries: `python -m benchmarks.collector`."""
