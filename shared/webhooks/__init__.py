"""Webhooks: a publisher sends its facts to whoever subscribed, each in the order of the log, until the sink has it."""
