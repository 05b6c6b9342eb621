"""Fairlead: an OpenAI-compatible gateway you run yourself, in front of every model provider."""

__version__ = "0.1.0"
