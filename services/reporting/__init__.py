"""Owns nothing: it follows the others' facts and shows how far things are, live and as of any moment."""
