"""Matching: comparing and ranking what was recognised."""
