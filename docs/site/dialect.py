"""Where GitHub's Markdown and the site's differ, the documents are written in GitHub's."""

from __future__ import annotations

import re


def on_page_markdown(markdown: str, **_: object) -> str:
    """A list may follow a paragraph's last line; in the code of a table's cell bars are escaped."""
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and line.startswith("|"):
            line = re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), line)
        begins = re.match(r"(- |1\. )", line) and lines and re.match(r"[^\s\-|#>0-9<]", lines[-1])
        if begins and not fenced:
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
