"""Hooks of mkdocs.yml: what the pages need beyond Markdown to be read on the site.

The pages are written to be read on a code host too. There, a link such as ``../configs/dqn.yaml``
leads to the file; the site has a page for each such file, since it has no other address to lead to.
"""

import dataclasses
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from rllib_vlm_reward.cli import app

ROOT = Path(__file__).parents[1]
FILES = "files/"  # the site's folder of pages for files outside of docs/
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "sh"}
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)(?=[)#])")
# Outside of fences, `python NAME.py` after the backticks names the file that a block shows.
NAMED_FENCE = re.compile(r"^```(\w+) ([\w.-]+)$", re.MULTILINE)
FLOATING_IMAGE = re.compile(r'<img align="right" src="([^"]+)" alt="([^"]+)">')
SHARED = re.compile(r"^( {4})(\w+(?:, \w+)+)(: .*(?:\n {8}.*)*)", re.MULTILINE)
EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
CELL = re.compile(r"<td.*?</td>", re.DOTALL)
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):<code>([~.]?)([\w.]+)</code>")


class Docstrings(griffe.Extension):
    """Adapts docstrings, which follow Google's style but for two habits, and types of settings."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename ``Example`` as griffe expects, and repeat a text that several names share."""
        if obj.docstring:
            text = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = SHARED.sub(_repeated, text)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Reduce ``Annotated[int, Field(ge=0)] | None`` to ``int | None``."""
        attr.annotation = _plain(attr.annotation)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made: commands, and files outside of docs/ that pages link to."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=command, ctx=typer.Context(command), name="rllib-vlm-reward", title="Commands"
    )
    # Its list of commands ends each line in "...", and the page has a table of contents.
    text = re.sub(r"\*\*Commands\*\*:.*?(?=\n## )", "", text, count=1, flags=re.DOTALL)
    files.append(File.generated(config, "commands.md", content=text))
    waiting, seen = ["README.md", "CHANGELOG.md"], set[str]()
    waiting += [
        target
        for file in files.documentation_pages()
        for target in _outside(f"docs/{file.src_uri}", file.content_string)
    ]
    while waiting:
        path = waiting.pop()
        if path not in seen and (ROOT / path).is_file():
            seen.add(path)
            content = _content(path)
            files.append(File.generated(config, _uri(path), content=content))
            waiting += _outside(path, content)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links lead to the site's pages, and name the file that a block of code shows."""
    uri = page.file.src_uri
    made = uri.startswith(FILES)
    path = uri.removeprefix(FILES) if made else f"docs/{uri}"

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[1]))
        if not made and target.startswith("docs/"):
            return match[1]
        return posixpath.relpath(_uri(target), posixpath.dirname(uri))

    markdown = FLOATING_IMAGE.sub(r"![\2](\1){ align=right }", markdown)
    return NAMED_FENCE.sub(r'```\1 title="\2"', LINK.sub(link, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Make links of the docstrings' cross-references, which are written for Sphinx.

    In a table, Python-Markdown keeps the backslash that escapes a bar in code; GitHub does not.
    """
    html = CELL.sub(lambda match: match[0].replace(r"\|", "|"), html)
    return ROLE.sub(_reference, html)


def _plain(given: Any) -> Any:
    """Return a type without the ``Annotated`` of its parts."""
    if isinstance(given, griffe.ExprSubscript) and given.canonical_name == "Annotated":
        return given.slice.elements[0]
    if isinstance(given, griffe.ExprBinOp):
        return dataclasses.replace(given, left=_plain(given.left), right=_plain(given.right))
    return given


def _repeated(match: re.Match[str]) -> str:
    return "\n".join(f"{match[1]}{name}{match[3]}" for name in match[2].split(", "))


def _reference(match: re.Match[str]) -> str:
    name = match[2].rpartition(".")[2] if match[1] == "~" else match[2]
    known = f"rllib_vlm_reward.{name}"
    return f'<autoref optional identifier="{known}"><code>{name}</code></autoref>'


def _uri(path: str) -> str:
    """Return where a file of the repository is on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return FILES + (path if path.endswith(".md") else f"{path}.md")


def _content(path: str) -> str:
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n````{LANGUAGES.get(Path(path).suffix, 'text')}\n{text}````\n"


def _outside(path: str, text: str) -> Iterator[str]:
    """Yield the files outside of docs/ that a page or file links to."""
    for link in LINK.findall(text):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
        if not target.startswith("docs/"):
            yield target
