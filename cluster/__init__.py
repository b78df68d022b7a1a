"""Composition root: the CLI, starting and stopping the parts."""
