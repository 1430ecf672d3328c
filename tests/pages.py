"""The pages that users read, and the blocks of code and the commands in them."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [*sorted((ROOT / "docs").glob("*.md")), README]

_FENCE = re.compile(r"^( *)```(\w*)(?: (\S+))?$")
_HEADING = re.compile(r"^#+ ")
_PROGRAMS = r"(?:\.venv/bin/)?rllib-vlm-reward [\w-]+ |python (?:benchmarks|tune_experiments)/"
# Code within a line is a command if something follows the name of the command.
_INLINE = re.compile(rf"`((?:{_PROGRAMS})[^`\n]+)`")
_COMMENT = re.compile(r"(?:^|\s)#.*$")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: what stands after the backticks; ``indented`` without them, ``inline`` in a line.
        name: the file that the block shows; None if it has no name.
        text: the code.
        section: all text between the headings around it.
    """

    language: str
    name: str | None
    text: str
    section: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    for section in _sections(page.read_text()):
        fence, body = None, []
        for line in section.splitlines():
            found = _FENCE.match(line)
            if fence is None and found and found[2]:
                fence, body = found, []
            elif fence and found and not found[2]:
                text = "\n".join(each.removeprefix(fence[1]) for each in body)
                yield Block(fence[2], fence[3], text + "\n", section)
                fence = None
            elif fence:
                body.append(line)
            elif line.startswith("    "):
                yield Block("indented", None, line.strip() + "\n", section)
            else:
                for text in _INLINE.findall(line):
                    yield Block("inline", None, text + "\n", section)
        assert fence is None, f"{page}: a block has no end"


def code_of(page: Path, language: str) -> list[str]:
    """Return the text of a page's blocks in a language."""
    return [block.text for block in blocks(page) if block.language == language]


def files_of(page: Path) -> dict[str, str]:
    """Return the files that a page shows, by name; a second block of a name is added to it."""
    files: dict[str, str] = {}
    for block in blocks(page):
        if block.name:
            files[block.name] = files.get(block.name, "") + block.text
    return files


def commands(page: Path) -> Iterator[tuple[str, Block]]:
    """Yield each command of a page, without its comment, and its block."""
    for block in blocks(page):
        if block.language in ("sh", "inline", "indented"):
            for line in block.text.replace("\\\n", " ").splitlines():
                for command in _COMMENT.sub("", line).split(" && "):
                    if command.strip() and (block.language != "indented" or _is_command(command)):
                        yield command.strip(), block


def _is_command(line: str) -> bool:
    return bool(re.match(rf"{_PROGRAMS}|docker |kubectl |ray |benchmarks/", line))


def _sections(text: str) -> Iterator[str]:
    section: list[str] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= bool(_FENCE.match(line))
        if _HEADING.match(line) and not fenced:
            yield "\n".join(section)
            section = []
        section.append(line)
    yield "\n".join(section)
