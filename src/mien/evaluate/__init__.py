"""Protocols, metrics and statistics: how a claim is measured and when it holds."""
