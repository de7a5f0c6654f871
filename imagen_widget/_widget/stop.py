"""The button that stops a series while it runs."""

from collections.abc import Callable

import ipywidgets


def stop_button(cancel: Callable[[], object]) -> ipywidgets.Button:
    """Return a button that calls `cancel` once."""
    about = "Send no more rows; what is paid for is still fetched"
    button = ipywidgets.Button(description="Stop", icon="stop", tooltip=about)
    button.add_class("ims-stopper")

    def stop(_: object) -> None:
        button.disabled, button.description = True, "Stopping"
        cancel()

    button.on_click(stop)
    return button
