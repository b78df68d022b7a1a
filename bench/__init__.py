"""Benchmarks: a table for people, ``--json`` for machines."""
