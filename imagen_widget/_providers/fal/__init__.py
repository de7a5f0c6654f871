"""fal's queue protocol: fal itself, gateways that pass it on, and the built-in demo."""

from imagen_widget._providers.fal.queue import Demo, Fal, Gateway

__all__ = ["Demo", "Fal", "Gateway"]
