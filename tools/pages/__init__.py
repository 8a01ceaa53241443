"""Pages that need nothing but a browser: one file, no network, light and dark as the reader's system has it.

    write_text(path, document("Two models", "<p>...</p>", data={"nodes": [...]}, scripts=[code]))

A script reads its data with `JSON.parse(document.getElementById("data").textContent)`.
"""

from .document import document, resource, svg_bars, table, table_lines

__all__ = ["document", "resource", "svg_bars", "table", "table_lines"]
