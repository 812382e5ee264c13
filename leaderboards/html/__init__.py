"""A static site of tables, curves, records and samples, opened from `file://`: no server, no network.

    write_site(ranked, folder)     all pages; a site that stands there is replaced file by file

`site` puts the pages together, `view` says what their templates are given, `charts` draws, `data` cuts samples into
scripts, `safety` keeps strangers' texts inert, `figures` writes charts for papers. It needs the extra `site`.
"""

from __future__ import annotations

from leaderboards.html.figures import write_figures
from leaderboards.html.site import write_site

__all__ = ["write_figures", "write_site"]
