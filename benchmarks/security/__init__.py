"""Estimates of what the protocols' parameters are worth, each computed here."""
