"""Owns what monitors recommend: vocabulary, issuing bodies, sources and recommendations."""
