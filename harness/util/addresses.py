"""Addresses as they may be shown and stored: without what somebody could log in with."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def shown_address(address: str) -> str:
    """An address without user information, query and fragment."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "an address that is none"
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{port}" if port else host, parts.path, "", ""))
