"""Measurements one can trust: `deeplearn bench NAME`, or `python -m benchmarks.NAME`."""
