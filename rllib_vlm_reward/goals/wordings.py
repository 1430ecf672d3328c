"""The wordings of a statement that ``train-clip`` teaches to a CLIP."""

from functools import lru_cache

from rllib_vlm_reward.errors import GoalError

__all__ = ["wordings"]


@lru_cache(maxsize=100_000)
def wordings(statement: str) -> tuple[str, ...]:
    """Return the texts that say a statement, of which a training draws one at a time.

    ``{x|y}`` in a statement is x in one wording and y in another; braces may contain braces.

    Raises:
        GoalError: the braces are not balanced, or an alternative is said twice.

    Example:
        >>> wordings("the agent is near {a|the} red ball")
        ('the agent is near a red ball', 'the agent is near the red ball')
        >>> wordings("{{a|the} cone is next to a tree|a tree is next to the cone}")[1:]
        ('the cone is next to a tree', 'a tree is next to the cone')
        >>> wordings("a red ball")
        ('a red ball',)
    """
    texts = tuple(_expand(statement))
    if len(set(texts)) < len(texts) or any("{" in text or "}" in text for text in texts):
        raise GoalError(
            f"statement {statement!r}: expected alternatives such as {{a|the}}, each once, in "
            "balanced braces. Correct it."
        )
    return texts


def _expand(text: str) -> list[str]:
    """Return the wordings of a text: split it at the bars outside of braces, after its braces."""
    start = text.find("{")
    if start < 0:
        return [text]
    end = _closing(text, start)
    if end < 0:
        return [text]
    inside = [each for part in _split(text[start + 1 : end]) for each in _expand(part)]
    return [text[:start] + middle + rest for middle in inside for rest in _expand(text[end + 1 :])]


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return -1


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
