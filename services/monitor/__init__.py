"""Owns the follow-up: rounds, obligations, progress reports and assessments."""
