"""Headwater: a hub for open-weight models that anybody can own."""

__version__ = "0.1.0"
