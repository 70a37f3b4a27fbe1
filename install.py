"""Install this project into a virtual environment: by uv where it can, else by pip.

    python install.py .venv            # what a search needs
    python install.py .venv dev        # and what tests and linters need

uv takes a third of pip's time. Pip fetches it, as a wheel into that environment,
and asks the same places as pip: what pip's files and variables say of indexes, mirrors, links and
certificates is told to uv. Where uv cannot be had, or does not manage, pip installs. Both compile
what they install: where Python may not write its bytecode later (PYTHONDONTWRITEBYTECODE, a folder
that is read-only), every process of a search would compile TensorFlow again, for six seconds.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# uv's variables by pip's options.
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}


# Sections of pip's files and its variables, the stronger ones later.
_LEVELS = ("global", "install", ":env:")


def uv_environment(config: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what uv is to be told, from what pip knows.

    Args:
        config: What ``pip config list`` prints: ``global.index-url='https://...'`` and so on.
        environment: Variables that are set; those of uv stay as they are.

    Returns:
        Variables to be added.
    """
    found: dict[str, str] = {}
    for level in _LEVELS:
        for line in config.splitlines():
            key, _, value = line.partition("=")
            name = _VARIABLES.get(key.removeprefix(f"{level}."))
            if name is not None:
                values = str(ast.literal_eval(value)).split()  # it may have several lines
                found[name] = ("," if name == "UV_FIND_LINKS" else " ").join(values)
    # pip takes the best version of all indexes, uv by itself that of the first that has the name.
    found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in found.items() if name not in environment}


def install(folder: Path, extras: str) -> None:
    """Install into an environment that exists.

    Raises:
        subprocess.CalledProcessError: where pip fails too; it has said why.
    """
    python = str(folder.absolute() / "bin" / "python")
    pip = [python, "-m", "pip"]
    what = ["--constraint", "constraints.txt", "--editable", f".[{extras}]" if extras else "."]
    if not _by_uv(folder, python, pip, what):
        print("installing by pip", flush=True)
        subprocess.run([*pip, "install", "--quiet", *what], check=True)


def _by_uv(folder: Path, python: str, pip: list[str], what: list[str]) -> bool:
    """Tell whether uv was there and has installed everything."""
    uv = folder.absolute() / "bin" / "uv"
    fetch = [*pip, "install", "--quiet", "--only-binary", ":all:"]
    try:
        subprocess.run([*fetch, "--constraint", "constraints.txt", "uv"], check=True)
        listed = subprocess.run(
            [*pip, "config", "list"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        environment = {**os.environ, **uv_environment(listed, os.environ)}
        command = [str(uv), "pip", "install", "--quiet", "--compile-bytecode"]
        subprocess.run([*command, "--python", python, *what], check=True, env=environment)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


if __name__ == "__main__":
    try:
        install(Path(sys.argv[1]), ",".join(sys.argv[2:]))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
