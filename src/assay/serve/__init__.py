"""Servers: models, environments and agents over HTTP."""
