"""What a curious user does with every public object; the cells of the notebook that is searched.

The kernel's working folder takes the pickles, so that they are searched as well.
"""

SETUP = """
import asyncio, contextlib, copy, itertools, logging, os, pathlib, pickle, sys, traceback
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, force=True)
logging.getLogger('asyncio').setLevel(logging.DEBUG)
%load_ext imagen_widget
import imagen_widget as iw
from imagen_widget import *
from imagen_widget import errors
numbers = itertools.count()

def the_key():
    'Return the key from where the user has put it, without a variable that holds it.'
    typed = pathlib.Path('typed.txt')
    found = os.environ.get('IMAGEN_API_KEY') or (typed.read_text() if typed.exists() else 'none')
    return found

def bare(thing, depth=0):
    'Print all that can be seen of a thing, and of what it is made of.'
    for look in (repr, str, format, '{!a}'.format, dir):
        with contextlib.suppress(Exception):
            print(look(thing))
    with contextlib.suppress(Exception):
        pathlib.Path(f'thing-{next(numbers)}.bin').write_bytes(pickle.dumps(thing))
    with contextlib.suppress(Exception):  # a copy of an inner part may close it behind our back
        print(copy.copy(thing) if depth == 0 else '')
    names = [*getattr(thing, '__dict__', ()), *getattr(type(thing), '__slots__', ())]
    for name in names if depth < 4 else ():
        with contextlib.suppress(Exception):
            print(name, repr(getattr(thing, name)))
            if type(getattr(thing, name)).__module__.startswith('imagen_widget'):
                bare(getattr(thing, name), depth + 1)
"""

LOGIN = """
import getpass
getpass.getpass = lambda prompt: pathlib.Path('typed.txt').read_text()
iw.login()
"""

USE = [
    "fox = %imagen a red fox",
    "%imagen_history",
    "%imagen_spend",
    "%imagen_models",
    "made = generate('a blue fox', num_images=2); made",
    "made.save('saved'); list(History())",
    """
client = ImagenClient()
ticket = await client.submit(ImageRequest.create('a green fox'))
await client.watch(ticket, print)
outcome = await client.result(ticket)
print(ticket, outcome, ticket.to_json())
""",
    """
job = iw.start(ImageRequest.create('a white fox'))
await job
studio = Studio()
series = studio.sweep('a {animal}', animal=['fox', 'owl'], name='animals').run()
series
""",
    "series.grid(); series.plan; series.to_pandas(); models('imagen'); History()",
    """
for thing in (fox, fox[0], made, made.request, client, client.settings, client.provider, History(),
              History().page()[0], job, job.progress, ticket, outcome, studio, studio.settings,
              series, series.rows[0], iw, iw.login):
    bare(thing)
""",
    """
widget = ImagenWidget(prompt='a grey fox')
display(widget)
widget.generate_button.click()
for _ in range(400):
    if widget.value is not None:
        break
    await asyncio.sleep(0.05)
print(widget.value, widget.status.value)
bare(widget)
""",
]

# A gateway's echo in its error, and an exception that is not ours, through all our frames.
FAILING = [
    "%imagen refuse me",
    "generate('refuse me')",
    "generate('break me')",
    """
class Broken:
    async def handle_async_request(self, request):
        raise RuntimeError('broken transport')
    async def aclose(self):
        pass
    async def __aenter__(self):
        return self
    async def __aexit__(self, *_):
        pass
async with ImagenClient(transport=Broken()) as broken:
    await broken.submit(ImageRequest.create('a lost fox'))
""",
    "ImagenClient(base_url='nonsense')",
    "generate('a fox', on_event=lambda event: 1 / 0)",
    "generate(5)",
    # A key where no key belongs: it is refused, and told by its name only.
    "generate('a fox', model='fal-ai/flux/dev', api_key=the_key())",
    "start('a fox', model='fal-ai/flux/dev', extra={'key': the_key()})",
    "sweep('a fox', authorization=[the_key()])",
    "Studio('kkiai', base_url='http://relay.example', api_key=the_key())",
    "ImagenClient('fal', api_key=the_key() + ' with more')",
]

LAST = """
for prompt in ('refuse me', 'break me'):
    try:
        generate(prompt)
    except errors.ImagenError as error:
        bare(error)
        print(error.__context__, error.__cause__, error.__traceback__.tb_frame.f_locals.keys())
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        print(''.join(trace.format()))
"""


def cells(*, login: bool, modes: tuple[str, ...]) -> list[str]:
    """Return all cells in order; the tracebacks come in each of some modes of IPython."""
    found = [SETUP, *([LOGIN] if login else []), *USE]
    for mode in modes:
        found += [f"%xmode {mode}", *FAILING, "%tb"]
    return [*found, LAST, "%whos", "%who_ls", "In", "Out"]
