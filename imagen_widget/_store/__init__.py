"""The pictures, each under the hash of its bytes: in a folder, or at an fsspec address.

The file helpers are here too: the journal keeps its file in the same private folder.
"""

from pathlib import Path

from imagen_widget._store.files import (
    FILE_MODE,
    FOLDER_MODE,
    create_file,
    make_folder,
    sync_folder,
    trouble,
)
from imagen_widget._store.folder import STALE_PART_SECONDS, Kept, Store

__all__ = [
    "FILE_MODE",
    "FOLDER_MODE",
    "STALE_PART_SECONDS",
    "Kept",
    "Store",
    "create_file",
    "make_folder",
    "open_store",
    "sync_folder",
    "trouble",
]


def open_store(home: Path, address: str | None = None) -> Store:
    """Return the store of a home: its own folder, or what IMAGEN_STORE says; no disk is touched."""
    if not address:
        return Store(home)
    if "://" not in address or address.startswith("file://"):
        return Store(home, folder=Path(address.removeprefix("file://")))
    from imagen_widget._store.remote import RemoteStore

    return RemoteStore(home, address)
