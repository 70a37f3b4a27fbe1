"""The installer asks the places that pip asks."""

from __future__ import annotations

from install import uv_environment

CONFIG = """global.cert='/etc/ssl/own.crt'
global.extra-index-url='https://a.example/simple https://b.example/simple'
global.index-url='https://mirror.example/simple'
global.timeout='60'
list.format='columns'
:env:.index-url='https://nearer.example/simple'
install.find-links='\\n/opt/wheels\\n/opt/more'
global.constraint='/etc/pip/constraints.txt'
"""


def test_uv_is_told_what_pip_knows() -> None:
    assert uv_environment(CONFIG, {}) == {
        "SSL_CERT_FILE": "/etc/ssl/own.crt",
        "UV_CONSTRAINT": "/etc/pip/constraints.txt",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_DEFAULT_INDEX": "https://nearer.example/simple",
        "UV_FIND_LINKS": "/opt/wheels,/opt/more",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_what_is_set_for_uv_stays() -> None:
    told = uv_environment(CONFIG, {"UV_DEFAULT_INDEX": "https://chosen.example/simple"})

    assert "UV_DEFAULT_INDEX" not in told


def test_without_any_config_uv_chooses_as_pip_would() -> None:
    assert uv_environment("", {}) == {"UV_INDEX_STRATEGY": "unsafe-best-match"}
