"""A hook of MkDocs: pages of the site whose text lies elsewhere in the repository."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarking.md",
    "training/README.md": "training.md",
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)[^)#\s]+")


def moved(text: str, source: str) -> str:
    """Return a page with its links to other pages as they are on the site; ``source`` is its path in the repository."""

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[0]))
        return ELSEWHERE.get(path, path.removeprefix("docs/"))

    return LINK.sub(target, text)


def on_files(files, config):
    for source, page in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=moved(text, source)))
    return files


def on_page_markdown(markdown, page, **_):
    return moved(markdown, f"docs/{page.file.src_uri}") if page.file.generated_by is None else markdown
