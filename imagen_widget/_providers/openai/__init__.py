"""OpenAI's image routes: one request that is answered with the pictures."""

from imagen_widget._providers.openai.client import OpenAI

__all__ = ["OpenAI"]
