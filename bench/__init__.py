"""Each promise of speed, measured with its limit in the same run."""
