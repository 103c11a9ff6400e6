"""Links out of docs/ work on the site as they do in the repository: what they lead to, a README or
a source file, becomes a page of the site, and so does what these lead to. Folders are their README,
or a list of their files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

DOCS = "docs/"
TREE = "tree/"
LANGUAGES = {".py": "python", ".toml": "toml", ".hpp": "cpp", ".yml": "yaml", ".service": "ini"}
AS_THEY_ARE = (".csv", ".ipynb", ".pdf", ".png", ".svg")
FENCED = re.compile(r"(^ *```.*?^ *```\s*?$)", re.M | re.S)
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))|(?<=src=\")([^\"]+)(?=\")")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """With a page for everything that links of pages lead to."""
    root = Path(config.docs_dir).parent
    waiting = [f"{DOCS}{file.src_uri}" for file in files.documentation_pages()]
    seen = {*waiting}
    while waiting:
        path = waiting.pop()
        if not path.endswith(".md") or not (root / path).is_file():
            continue
        for target in targets((root / path).read_text(encoding="utf-8"), path):
            if target in seen or not (root / target).exists():
                continue  # mkdocs names a link that leads nowhere
            seen.add(target)
            waiting.append(readme_of(root, target))
            if (page := page_of(root, target)) not in files.src_uris:
                text, level = content(root, target), InclusionLevel.NOT_IN_NAV
                files.append(File.generated(config, page, content=text, inclusion=level))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Its links, from where it is on the site to where their targets are."""
    root = Path(config.docs_dir).parent
    here = page.file.src_uri
    folder = str(PurePosixPath(here).parent)
    path = here.removeprefix(TREE) if here.startswith(TREE) else f"{DOCS}{here}"

    def moved(link: str) -> str:
        target, mark, anchor = link.partition("#")
        return relpath(page_of(root, resolved(target, path)), folder) + mark + anchor

    return rewritten(markdown, moved)


def rewritten(text: str, moved: Callable[[str], str]) -> str:
    """Markdown with every relative link outside of code as `moved` says."""

    def each(match: re.Match[str]) -> str:
        return match[0] if "://" in match[0] or match[0].startswith("#") else moved(match[0])

    parts = FENCED.split(text)
    return "".join(part if FENCED.fullmatch(part) else LINK.sub(each, part) for part in parts)


def targets(text: str, path: str) -> list[str]:
    """Paths in the tree that the links of a document at `path` lead to."""
    found: list[str] = []

    def note(link: str) -> str:
        found.append(resolved(link.partition("#")[0], path))
        return link

    rewritten(text, note)
    return found


def resolved(link: str, path: str) -> str:
    """The path in the tree that a link of the document at `path` means."""
    return normpath(f"{PurePosixPath(path).parent}/{link}")


def readme_of(root: Path, path: str) -> str:
    """What is read in place of a folder, if it has such a file."""
    inside = f"{path}/README.md"
    return inside if (root / inside).is_file() else path


def page_of(root: Path, path: str) -> str:
    """The page that a file or a folder of the tree is on the site."""
    whole = root / path
    if whole.is_dir() and not (whole / "README.md").is_file():
        path = f"{path}/index.md"
    elif whole.is_dir():
        path = f"{path}/README.md"
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    return f"{TREE}{path}" if path.endswith((".md", *AS_THEY_ARE)) else f"{TREE}{path}.md"


def content(root: Path, path: str) -> str | bytes:
    """Of the page of a file or a folder, its links as they are in the tree."""
    whole = root / readme_of(root, path)
    if whole.suffix in AS_THEY_ARE:
        return whole.read_bytes()
    if whole.is_dir():
        entries = sorted(each.name for each in whole.iterdir() if each.is_file())
        lines = [f"- [{name}]({name}){title(whole / name)}" for name in entries]
        return "\n".join([f"# {PurePosixPath(path).name.capitalize()}", "", *lines, ""])
    text = whole.read_text(encoding="utf-8")
    if whole.suffix == ".md":
        return text
    return f"# {path}\n\n````{LANGUAGES.get(whole.suffix, 'text')}\n{text}````\n"


def title(path: Path) -> str:
    """What a document's heading says, for a list."""
    if path.suffix != ".md":
        return ""
    return f": {path.read_text(encoding='utf-8').partition(chr(10))[0].removeprefix('# ')}"
