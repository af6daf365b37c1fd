"""Owns the programme that answers the recommendations: partners, action lines, actions and links."""
