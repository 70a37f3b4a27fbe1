"""Where a study lies: URLs of object stores, folders, and this machine's copies."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a URL of a store, such as ``s3://bucket/prefix``."""
    return re.match(r"[a-z][a-z0-9+.-]+://", os.fspath(path)) is not None


def url_problem(url: str) -> str | None:
    """Say what is wrong with a store's URL: it must hold no credentials."""
    parts = urlsplit(url)
    if parts.username or parts.password or re.search("(?i)secret|token|access_key", parts.query):
        return "expected a URL without credentials, which belong into the environment"
    if not parts.netloc and parts.scheme != "file":
        return f"expected a URL such as s3://bucket/prefix, received {url!r}"
    return None


def copy_of(url: str, name: str, cache: Path | None) -> Path:
    """Return the folder of this machine's copy of a study.

    Args:
        url: The storage path, a store's URL.
        name: The study's.
        cache: Where copies are kept; None: below ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = cache or home / "flexunet-search" / "studies"
    key = hashlib.sha256(url.partition("?")[0].rstrip("/").encode()).hexdigest()[:16]
    return (root / key / name).absolute()


def joined(url: str, *names: str) -> str:
    """Return the URL of a folder below that of another; a query stays at the end."""
    base, mark, query = url.partition("?")
    return "/".join([base.rstrip("/"), *names]) + mark + query
