"""The four services: three with nouns of their own, and reporting, which has only views."""
