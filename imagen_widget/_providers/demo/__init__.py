"""The demo: fal's client and, on the other side of the wire, a queue that draws in this process."""

from functools import cached_property
from typing import TYPE_CHECKING

from imagen_widget._providers.fal import Fal
from imagen_widget._providers.provider import Capabilities

if TYPE_CHECKING:
    from imagen_widget._providers.http import Http


class Demo(Fal):
    """The built-in queue: no account, no network."""

    can = Capabilities(free=True)
    shortest_poll_seconds = 0.05

    def usual_seconds(self, model_id: str) -> float:
        return self.settings.demo_seconds

    @cached_property
    def http(self) -> "Http":
        from imagen_widget._providers.demo.app import create_app
        from imagen_widget._providers.http import Http

        app = self.transport or create_app(seconds=self.settings.demo_seconds)
        return Http(self.settings.base_url, scheme="", key=None, transport=app)
