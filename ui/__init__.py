"""The reviewers' app."""
