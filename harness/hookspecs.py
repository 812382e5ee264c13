"""What a plug-in imports to offer something: `hookimpl`, and the hooks that there are."""

from __future__ import annotations

from harness.plugins.specs import *  # noqa: F403
