"""What is tried on the package, and what its errors must say: what, got, and the remedy."""

import re

import pydantic
from hypothesis import HealthCheck, settings

from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.settings import messages

# With one of these a sentence, or a part of one, begins to say what to do.
_VERBS = re.findall(
    r"\w+",
    """
    Add Bring Call Change Check Choose Clamp Close Collect Convert Copy Correct Create Divide Drop
    Fill Free Give Hold Indent Install Leave Let List Look Lower Merge Move Name Pass Put Raise
    Reduce Remove Rename Repeat Resize Return Run Save Score Search Separate Set Shorten Stack
    Start Swap Transpose Use Write
    """,
)
_SENTENCES = ("Did you mean", "It belongs", "The keys are", "For a single frame")
_REMEDY = re.compile(
    rf"(?:^|[.!?)] )(?:{'|'.join([*_VERBS, *_SENTENCES])})\b"
    rf"|(?:[:;,)] |, or |and )(?:{'|'.join(map(str.lower, _VERBS))})\b"
)
_SHOWN = re.compile(r"""\bgot\b|is missing|['"`\[\d]""")


any_example = settings(
    max_examples=500, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
"""For tests that try 500 examples of what may be given, the same ones at each run."""


def said(error):
    """Return the messages that the command line prints for an error of this package."""
    if isinstance(error, pydantic.ValidationError):
        return messages(error)
    assert isinstance(error, ERRORS), f"not an error of ours: {error!r}"
    return [str(error)]


def assert_helps(error, name=""):
    """Assert that each message names what is wrong, shows what was given, and says what to do."""
    found = said(error)
    assert found
    for message in found:
        assert re.match(r"[^.]*\w", message), f"names nothing: {message!r}"
        assert name in message, f"does not name {name}: {message!r}"
        assert _SHOWN.search(message), f"does not show what it got: {message!r}"
        assert _REMEDY.search(message), f"no remedy: {message!r}"
        assert "Traceback" not in message
