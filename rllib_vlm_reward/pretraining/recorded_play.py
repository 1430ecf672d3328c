"""Plays a world, and keeps its frames and captions in a folder, so that play can go on there."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rllib_vlm_reward.envs.captions import Box, Captions
from rllib_vlm_reward.errors import FrameError, LabelError
from rllib_vlm_reward.files import write_text
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import Template, wordings
from rllib_vlm_reward.pretraining.captioned import CaptionedFrames, Family, Mask
from rllib_vlm_reward.pretraining.world import World

__all__ = ["STEPS", "play"]

STEPS = 100
"""Number of steps of an episode, unless the env ends it before."""

FRAMES, CAPTIONS = "frames.bin", "captions.jsonl"

Families = Mapping[str, Family]
# Columns of each frame by family, for "true" and "unclear"; and the boxes of each frame.
Episode = dict[str, Any]


def play(
    world: World,
    num_frames: int,
    folder: Path,
    *,
    seed: int = 0,
    held_out: bool = False,
    report: Callable[[int], None] = lambda frames: None,
) -> CaptionedFrames:
    """Play until there are ``num_frames`` frames, and return them with their captions.

    Every episode has a seed of its own, so play that was interrupted goes on where it was if it is
    repeated with the same folder and arguments.

    Args:
        world: the world.
        num_frames: N.
        folder: where frames and captions are kept.
        seed: seed of layouts and play.
        held_out: play in layouts that no call with ``held_out=False`` uses: training layouts have
            even seeds, held-out layouts odd ones.
        report: called with the number of frames after each episode.

    Raises:
        FrameError: the env's frames have several sizes.
        LabelError: captions name other statements than before, or a statement in two lists.

    Example:
        >>> import tempfile
        >>> frames = play(World("rllib_vlm_reward/Rooms-v0"), 60, Path(tempfile.mkdtemp()))
        >>> frames.frames.shape, frames.holds["lift"].shape
        ((60, 56, 56, 3), (60, 19))
    """
    record = _Record(folder, world.templates)
    while len(record) < num_frames:
        number = record.episodes
        rng = np.random.default_rng((seed, held_out, number))
        layout = 2 * int(rng.integers(2**30)) + held_out
        record.add(world, int(rng.integers(2**31)), layout, num_frames - len(record))
        report(len(record))
    return record.read(num_frames)


class _Record:
    """The files of a play: frames one after another, and a line of captions for each episode."""

    def __init__(self, folder: Path, templates: Mapping[str, Template]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._frames, self._captions = folder / FRAMES, folder / CAPTIONS
        self._templates = templates
        self._shape: tuple[int, ...] = ()
        self.families: dict[str, Family] = {}
        written = self._captions.read_text(encoding="utf-8") if self._captions.exists() else ""
        # A process that was killed may have left half a line, or frames without a line.
        lines = written[: written.rfind("\n") + 1]
        write_text(self._captions, lines)
        whole = [json.loads(line) for line in lines.splitlines()]
        if whole:
            self._begin(whole[0]["shape"], whole[0]["statements"])
        self._episodes: list[Episode] = whole[1:]
        self._length = sum(_length(episode) for episode in self._episodes)

    @property
    def episodes(self) -> int:
        return len(self._episodes)

    def __len__(self) -> int:
        return self._length

    def add(self, world: World, seed: int, layout: int, most: int) -> None:
        """Play an episode, and append at most so many of its frames."""
        episode: Episode = {"true": {}, "unclear": {}}
        if world.has_boxes:
            episode["boxes"] = []
        with self._opened() as file:
            for number, shown in enumerate(world.play(seed=seed, layout=layout, steps=STEPS)):
                if number == most:
                    break
                if not self.families:
                    self._begin(shown.frame.shape, _listed(shown.captions, self._templates))
                    self._write_line({"shape": self._shape, "statements": self._statements()})
                self._check(shown.frame)
                columns = _columns(shown.captions, self.families)
                for name, found in columns.items():
                    for family, each in found.items():
                        episode[name].setdefault(family, []).append(each)
                if world.has_boxes:
                    episode["boxes"].append(shown.boxes)
                file.write(np.ascontiguousarray(shown.frame).tobytes())
        self._write_line(episode)
        self._episodes.append(episode)
        self._length += _length(episode)

    def read(self, number: int) -> CaptionedFrames:
        frames: Frames = np.memmap(self._frames, np.uint8, "r", shape=(number, *self._shape))
        masks: dict[str, dict[str, Mask]] = {"true": {}, "unclear": {}}
        for name, found in masks.items():
            for family, each in self.families.items():
                rows = [row for episode in self._episodes for row in episode[name][family]]
                found[family] = np.zeros((number, len(each.statements)), bool)
                for row, columns in enumerate(rows):
                    found[family][row, columns] = True
        lengths = [_length(episode) for episode in self._episodes]
        boxes = None
        if all("boxes" in episode for episode in self._episodes):
            boxes = [
                [Box(*box) for box in shown]
                for episode in self._episodes
                for shown in episode["boxes"]
            ]
        return CaptionedFrames(
            frames,
            np.repeat(np.arange(len(lengths)), lengths),
            self.families,
            masks["true"],
            {name: ~(held | masks["unclear"][name]) for name, held in masks["true"].items()},
            boxes,
        )

    def _opened(self) -> BinaryIO:
        self._frames.touch()
        file = self._frames.open("r+b")
        size = int(np.prod(self._shape)) if self._shape else 0
        file.truncate(self._length * size)
        file.seek(0, 2)
        return file

    def _begin(self, shape: Any, statements: Mapping[str, list[str]]) -> None:
        self._shape = tuple(shape)
        self.families = {
            name: Family(tuple(texts), getattr(self._templates.get(name), "nothing", None))
            for name, texts in statements.items()
        }

    def _statements(self) -> dict[str, list[str]]:
        return {name: [*family.statements] for name, family in self.families.items()}

    def _write_line(self, value: Any) -> None:
        with self._captions.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")

    def _check(self, frame: Frames) -> None:
        if frame.shape != self._shape:
            raise FrameError(
                f"captions: got a frame {list(frame.shape)} after {list(self._shape)}, expected "
                "one size. Let the env draw all frames in one size."
            )


def _length(episode: Episode) -> int:
    return len(next(iter(episode["true"].values())))


def _listed(captions: Captions, templates: Mapping[str, Template]) -> dict[str, list[str]]:
    """Return the statements of each family in order: first its ``nothing``, then the others."""
    listed = {}
    for family in sorted({*captions.true, *captions.false, *captions.unclear}):
        nothing = getattr(templates.get(family), "nothing", None)
        every = {text for part in captions for text in part.get(family, ())}
        listed[family] = sorted(every, key=lambda text: (text != nothing, text))
        for text in listed[family]:
            wordings(text)
    return listed


def _columns(captions: Captions, families: Families) -> dict[str, dict[str, list[int]]]:
    """Return the columns of the true and of the unclear statements, by family.

    Raises:
        LabelError: a statement is missing, unknown, or in two of the three.
    """
    found: dict[str, dict[str, list[int]]] = {"true": {}, "unclear": {}}
    names = {*captions.true, *captions.false, *captions.unclear}
    for family in sorted({*families} | names):
        parts = [set(part.get(family, ())) for part in captions]
        known = set(families[family].statements) if family in families else set()
        said = set().union(*parts)
        if said != known:
            lacking, new = sorted(known - said)[:3], sorted(said - known)[:3]
            raise LabelError(
                f"captions of {family!r}: got {new} more than before, and {lacking} less; expected "
                "the same statements of each frame, each true, false or unclear. Correct "
                "captions(); rllib_vlm_reward.Statements does it for you."
            )
        if sum(map(len, parts)) > len(said):
            twice = sorted((parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2]))
            raise LabelError(
                f"captions of {family!r}: got {twice[:3]} twice, expected each statement as true, "
                "false or unclear. Correct captions()."
            )
        places = _places(families[family].statements)
        found["true"][family] = sorted(places[text] for text in parts[0])
        found["unclear"][family] = sorted(places[text] for text in parts[2])
    return found


@lru_cache(maxsize=64)
def _places(statements: tuple[str, ...]) -> dict[str, int]:
    return {text: place for place, text in enumerate(statements)}
