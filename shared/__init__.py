"""The mechanism that every service runs on; it knows no word of the domain outside `events/`."""
