"""HTML that strings of a dataset cannot break out of, and a policy that lets nothing else run.

Source: HTML standard, "restrictions for contents of script elements"; CSP level 3.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from typing import Any

__all__ = ["content_security_policy", "data_block", "script", "tag", "text"]


def text(value: object) -> str:
    """Escape for element content and for quoted attribute values; a lone surrogate is replaced."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"), quote=True)


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Build an element; attribute values are escaped, `content` is HTML already.

    ``class_`` is written ``class``, and ``aria_label`` ``aria-label``. None and False leave an
    attribute out, True writes it without a value.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        html_name = key.rstrip("_").replace("_", "-")
        parts.append(html_name if value is True else f'{html_name}="{text(value)}"')
    closing = "" if name in {"img", "input", "meta", "br"} else f"{content}</{name}>"
    return f"<{' '.join(parts)}>{closing}"


def data_block(element_id: str, value: Any) -> str:
    """Put JSON in a script element that browsers do not run; ``<`` cannot occur in it."""
    packed = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    safe = packed.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{text(element_id)}">{safe}</script>'


def script(source: str) -> str:
    """Put a program in a script element; ``</script`` inside strings of it is broken up."""
    return f"<script>{_harmless(source)}</script>"


def content_security_policy(scripts: Iterable[str], *, webgl: bool) -> str:
    """Allow exactly these scripts, and no request at all.

    Parameters
    ----------
    scripts : iterable of str
        Sources, as given to `script`.
    webgl : bool
        Plotly's WebGL code (regl) compiles functions from strings of its own.
    """
    hashes = " ".join(
        f"'sha256-{b64encode(sha256(_harmless(source).encode()).digest()).decode()}'"
        for source in scripts
    )
    unsafe_eval = " 'unsafe-eval'" if webgl else ""
    return (
        f"default-src 'none'; script-src {hashes}{unsafe_eval}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _harmless(source: str) -> str:
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")
