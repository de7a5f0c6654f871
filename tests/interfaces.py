"""The three interfaces: `generate`, `%imagen` in a real shell, and the form."""

import asyncio
import json
from typing import Any

from imagen_widget import ImagenWidget, generate
from tests.fakequeue import FakeQueue
from tests.widget_bench import Time

Json = dict[str, Any]
INTERFACES = ("generate", "magic", "form")


class Interfaces:
    """Sends requests to a queue, by the interface that is named."""

    def __init__(self, queue: FakeQueue, shell: Any) -> None:
        self.queue, self.shell = queue, shell

    def send(self, interface: str, model: str, prompt: str, given: Json, pictures: Json) -> Json:
        """Send a request and return the body that arrived.

        `given` has fields of the model, `pictures` may have `image`, `images` and `mask`.
        """
        before = len(self.queue.jobs)
        getattr(self, f"_{interface}")(model, prompt, given, pictures)
        jobs = list(self.queue.jobs.values())
        assert len(jobs) == before + 1
        assert jobs[-1].model == model
        return jobs[-1].arguments

    def _generate(self, model: str, prompt: str, given: Json, pictures: Json) -> None:
        generate(prompt or None, model=model, quiet=True, extra=given, **pictures)

    def _magic(self, model: str, prompt: str, given: Json, pictures: Json) -> None:
        words = ["%imagen -q --fresh -m", model]
        for name, value in given.items():
            self.shell.user_ns[f"the_{name}"] = _typed(value)
            typed = value if name.endswith("_urls") else [f"{{{{the_{name}}}}}"]
            if isinstance(value, bool):  # a template behind a switch would belong to the prompt
                typed = [_typed(value)]
            words += [f"--{name.replace('_', '-')} {each}" for each in typed]
        one = [pictures["image"]] if "image" in pictures else []
        for number, value in enumerate(pictures.get("images", one)):
            self.shell.user_ns[f"picture{number}"] = value
            words += ["-i", f"picture{number}"]
        if "mask" in pictures:
            self.shell.user_ns["mask"] = pictures["mask"]
            words += ["--mask", "mask"]
        self.shell.run_cell(" ".join([*words, prompt])).raise_error()

    def _form(self, model: str, prompt: str, given: Json, pictures: Json) -> None:
        panel = ImagenWidget(timer=quiet_timer())
        try:
            panel.model.value = model
            panel.prompt.value = prompt
            for name, value in given.items():
                panel.fields[name].value = value
            pictures = dict(pictures)
            chosen = pictures.pop("images", None) or pictures.pop("image", None)
            if chosen is not None:
                panel.fields.strip.value = chosen
            asyncio.run(panel.generate(**pictures))
        finally:
            panel.close()


def quiet_timer() -> Any:
    """Return a widget's timer whose background is here and now."""
    return Time()


def _typed(value: object) -> str:
    """Return a value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value)
