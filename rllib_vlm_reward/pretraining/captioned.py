"""Frames with their captions, the material of a training, and draws from them."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.envs.captions import Box
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import wordings

__all__ = ["CaptionedFrames", "Family", "Mask"]

Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Family:
    """The S statements of one family, each of which is another's negative.

    Attributes:
        statements: the statements, in a fixed order; :func:`.wordings` says each.
        nothing: the statement that none of the others holds; None if there is no such statement.

    Example:
        >>> family = Family(("nothing is near", "{a|the} cone is near"), "nothing is near")
        >>> family.goals
        array([False,  True])
        >>> family.about(["cone"])
        array([False,  True])
        >>> family.say([1], np.random.default_rng(0))
        ['the cone is near']
    """

    statements: tuple[str, ...]
    nothing: str | None = None

    @property
    def goals(self) -> Mask:
        """Which statements may be goals: all but ``nothing``, bool ``[S]``."""
        return np.array([text != self.nothing for text in self.statements])

    def about(self, things: Sequence[str]) -> Mask:
        """Return which statements name one of these things, as whole words, bool ``[S]``."""
        names = "|".join(re.escape(thing) for thing in things) or "(?!)"
        named = re.compile(rf"\b(?:{names})\b")
        return np.array([bool(named.search(wordings(text)[0])) for text in self.statements])

    def say(self, columns: Sequence[int], rng: np.random.Generator) -> list[str]:
        """Return these statements, each in a wording that is drawn at random.

        The CLIP needs all of them, since goals say "the red ball" and users "a red ball".
        """
        drawn = rng.random(len(columns))
        texts = [wordings(self.statements[column]) for column in columns]
        return [each[int(part * len(each))] for each, part in zip(texts, drawn, strict=True)]


@dataclasses.dataclass(frozen=True)
class CaptionedFrames:
    """N frames, and which statements hold in each.

    A statement that neither holds nor fails is unclear.

    Attributes:
        frames: uint8 ``[N, H, W, 3]``.
        episodes: the episode of each frame, integer ``[N]``.
        families: the families by name.
        holds: by family, bool ``[N, S]``.
        fails: by family, bool ``[N, S]``.
        boxes: what each frame shows where; None if the source does not say.
    """

    frames: Frames
    episodes: npt.NDArray[np.int64]
    families: Mapping[str, Family]
    holds: Mapping[str, Mask]
    fails: Mapping[str, Mask]
    boxes: Sequence[Sequence[Box]] | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.episodes)

    def digests(self) -> npt.NDArray[np.bytes_]:
        """Return a digest of each frame's pixels, bytes ``[N]``."""
        each = (hashlib.blake2b(frame.tobytes(), digest_size=16).digest() for frame in self.frames)
        return np.array([digest.hex() for digest in each], "S32")

    def rows(self, kept: Mask) -> npt.NDArray[np.intp]:
        """Return the first row of each distinct frame among those to keep."""
        rows = np.flatnonzero(kept)
        first = np.unique(self.digests()[rows], return_index=True)[1]
        distinct: npt.NDArray[np.intp] = rows[np.sort(first)]
        return distinct

    def scorable(self, name: str) -> Mask:
        """Return in which frames a family can be scored, bool ``[N]``.

        At most one of its goals holds there, and no statement is unclear.
        """
        held, clear = self.holds[name], self.holds[name] | self.fails[name]
        one = held[:, self.families[name].goals].sum(axis=1) <= 1
        scorable: Mask = one & clear.all(axis=1)
        return scorable

    def check_scorable(self) -> None:
        """Check that each family can be scored.

        Raises:
            LabelError: in no frame of a family one of its goals holds, alone and with nothing
                unclear.
        """
        for name, family in self.families.items():
            kept = self.scorable(name)
            if not self.holds[name][kept][:, family.goals].any():
                several = int((self.holds[name][:, family.goals].sum(axis=1) > 1).sum())
                unclear = int((~(self.holds[name] | self.fails[name])).any(axis=1).sum())
                raise LabelError(
                    f"captions: of {len(self):,} held-out frames, {several:,} have several true "
                    f"statements of the family {name!r} and {unclear:,} have unclear ones, "
                    "expected a frame with one true statement and none unclear. Give statements "
                    "that can hold together different families, and for each frame say of all "
                    "statements whether they hold."
                )

    def mentions(self, things: Sequence[str]) -> Mask:
        """Return in which frames a statement about these things holds or may hold, bool ``[N]``."""
        found = np.zeros(len(self), bool)
        for name, family in self.families.items():
            found |= ~self.fails[name][:, family.about(things)].all(axis=1)
        return found

    def weights(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Return the probability of drawing each of these frames, float64 ``[R]``.

        A frame counts as much as its rarest statement, since in most frames "nothing" holds. A
        statement that holds in n frames has the weight 1/√n. On a log scale that is half way
        between the shares in the frames and equal shares for all statements.

        Raises:
            LabelError: no statement holds in any of the frames.
        """
        weights = np.zeros(len(rows))
        for holds in self.holds.values():
            held = holds[rows]
            rarity = held.sum(axis=0).clip(min=1) ** -0.5
            weights += (held * (rarity / rarity.mean())).max(axis=1)
        if not weights.any():
            raise LabelError(
                f"captions: no statement holds in any of {len(rows)} frames, expected at least "
                "one that does. Correct captions(), or the table."
            )
        normalised: npt.NDArray[np.float64] = weights / weights.sum()
        return normalised

    def check(self, which: str) -> None:
        """Check that each family can be learned and scored.

        Args:
            which: what the frames are, for the error message.

        Raises:
            LabelError: a family has one statement, or a frame in which a goal of a family holds is
                missing.
        """
        for name, family in self.families.items():
            if len(family.statements) < 2:
                raise LabelError(
                    f"captions: the family {name!r} has the one statement "
                    f"{family.statements[0]!r}, expected at least two, of which one is the "
                    "other's negative. Add the statement that it does not hold."
                )
            if not self.holds[name][:, family.goals].any():
                raise LabelError(
                    f"captions: in none of the {len(self):,} {which} frames a statement of the "
                    f"family {name!r} holds, such as {family.statements[-1]!r}. Use more frames, "
                    "or correct the captions."
                )
