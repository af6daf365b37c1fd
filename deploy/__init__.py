"""Runs Kapstok: on a laptop, in tests, in containers."""
