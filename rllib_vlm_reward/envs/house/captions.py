"""The statements about a frame of the house, in the words of the prompts."""

import math
from collections.abc import Sequence
from itertools import combinations

from rllib_vlm_reward.envs.captions import Captions, Statements
from rllib_vlm_reward.envs.house.ground_truth import NEAR, is_near, is_next_to
from rllib_vlm_reward.envs.house.mission import FORMS
from rllib_vlm_reward.envs.house.renderer import Renderer
from rllib_vlm_reward.envs.house.scene import Scene
from rllib_vlm_reward.goals import Template

__all__ = ["TEMPLATES", "captions", "visible_pixels"]

TEMPLATES: dict[str, Template] = {
    "find": Template(FORMS["find"], "the agent is near {}", "the agent is near nothing"),
    "lift": Template(FORMS["lift"], "the agent is carrying {}", "the agent is carrying nothing"),
    "place": Template(
        FORMS["place"], "{} is next to {}", "no two things are side by side", symmetric=True
    ),
}
"""The templates from a goal to a description of its success state, by family."""

SEEN = 100  # pixels of a frame of 64 by 64
_FRAME = 64 * 64


def captions(scene: Scene, renderer: Renderer, known: Statements) -> Captions:
    """Return the statements about the agent's frame.

    The statements are the prompts of :data:`TEMPLATES`, filled in with the things' names. A thing
    is seen if 100 pixels of a frame of 64 × 64 change when it is left out, or as large a share of
    another frame.

    * find: the agent is near the thing by the state, and the thing is seen. If only one of them
      holds within the same distance, the statement is unclear.
    * lift: the agent carries the thing.
    * place: the two things are next to each other by the state, and both are seen. If less of them
      is seen, but not nothing, the statement is unclear.

    Draws a frame for each thing that matters, so it takes several times as long as a step.

    Args:
        scene: the state.
        renderer: draws it.
        known: all statements.
    """
    pairs = [pair for pair in combinations(scene.lying(), 2) if is_next_to(scene, *pair)]
    close = [index for index in scene.lying() if _distance(scene, index) <= NEAR]
    pixels = visible_pixels(scene, renderer, sorted({*close, *(i for pair in pairs for i in pair)}))
    enough = SEEN * renderer.size**2 / _FRAME
    seen = {index for index, number in pixels.items() if number >= enough}
    near = {index for index in close if is_near(scene, index)}
    beside = [pair for pair in pairs if seen.issuperset(pair)]
    hardly = [pair for pair in pairs if pair not in beside and all(pixels[i] for i in pair)]
    held = [] if scene.carried is None else [(scene.carried,)]
    true = {
        "find": _names(scene, [(index,) for index in near & seen]),
        "lift": _names(scene, held),
        "place": _names(scene, beside),
    }
    unclear = {
        "find": _names(scene, [(index,) for index in near ^ (seen & set(close))]),
        "place": _names(scene, hardly),
    }
    return known.captions(true, unclear)


def visible_pixels(scene: Scene, renderer: Renderer, things: list[int]) -> dict[int, int]:
    """Return how many pixels of the agent's frame show each of some things.

    The number is counted in pictures, without the state: the pixels that change if the thing is
    left out of a second rendering.
    """
    if not things:
        return {}
    frame = renderer.draw(scene)
    return {
        index: int((frame != renderer.draw(scene, without=[index])).any(axis=-1).sum())
        for index in things
    }


def _names(scene: Scene, things: Sequence[tuple[int, ...]]) -> list[tuple[str, ...]]:
    return [tuple(scene.kinds[index].name for index in group) for group in things]


def _distance(scene: Scene, index: int) -> float:
    return math.dist(scene.agent[:2], scene.places[index])
