"""BabyAI levels of one room: Find, Lift, Place, and Playroom, which asks for all three."""

from collections.abc import Sequence
from typing import Any

from minigrid.core.constants import COLOR_NAMES
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.envs.babyai.core.verifier import GoToInstr, Instr, ObjDesc, PickupInstr, PutNextInstr

from rllib_vlm_reward.envs.babyai.mission import FORMS, Mission, Thing

__all__ = ["COLORS", "KINDS", "Find", "Level", "Lift", "Place", "Playroom"]

COLORS: tuple[str, ...] = tuple(COLOR_NAMES)
KINDS: tuple[str, ...] = ("ball", "box", "key")


class Level(RoomGridLevel):  # type: ignore[misc]
    """A room of distinct objects, of which the mission names one or two.

    The mission is drawn, or asked for: ``reset(options={"goal": "pick up a red ball"})`` makes a
    room in which that can be done, and words the mission as it was asked for.

    Args:
        room_size: tiles on a side, walls included.
        num_objects: objects in the room, each another colour or kind.
        colors: colours to draw from.
        kinds: kinds to draw from: ball, box, key.
        reserved: things, as "green ball", that lie in a room only if its goal names them. An agent
            that meets in training what is held out for evaluation learns to leave it alone.
        max_steps: steps until truncation; None takes BabyAI's own limit, ``room_size ** 2``, or
            twice that where two objects are named.

    Attributes:
        families: what missions ask for: find, lift, place.
    """

    families: tuple[str, ...]

    def __init__(
        self,
        *,
        room_size: int = 6,
        num_objects: int = 3,
        colors: Sequence[str] = COLORS,
        kinds: Sequence[str] = KINDS,
        reserved: Sequence[str] = (),
        max_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.objects: list[Thing] = [(kind, color) for color in colors for kind in kinds]
        names = {f"{color} {kind}": (kind, color) for kind, color in self.objects}
        if not names.keys() >= set(reserved):
            raise ValueError(f"reserved is {list(reserved)}, expected some of {list(names)}.")
        kept = [names[name] for name in reserved]
        self._free: list[Thing] = [thing for thing in self.objects if thing not in kept]
        room = (room_size - 2) ** 2
        if not 1 < num_objects <= min(len(self._free), room // 2):
            raise ValueError(
                f"num_objects is {num_objects}, expected 2 to {min(len(self._free), room // 2)}: "
                f"there are {len(self._free)} distinct objects, and the {room} free tiles of "
                "the room must stay half empty. Enlarge room_size, colors or kinds."
            )
        self.num_objects = num_objects
        super().__init__(room_size=room_size, num_rows=1, num_cols=1, max_steps=max_steps, **kwargs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make a room and its mission.

        Args:
            seed: of the room, and of the mission where it is drawn.
            options: ``goal``, the mission's text; None draws one.

        Raises:
            GoalError: a goal that this level cannot pose.
        """
        goal = (options or {}).get("goal")
        asked = None if goal is None else Mission.read(goal, self.families, self.objects)
        self._asked: Mission | None = asked
        result: tuple[dict[str, Any], dict[str, Any]] = super().reset(seed=seed, options=options)
        return result

    def _gen_grid(self, width: int, height: int) -> None:
        # Drawn once and not with each layout, as BabyAI rejects more layouts of some families.
        family = self._asked.family if self._asked else self._rand_elem(self.families)
        self._family: str = family
        super()._gen_grid(width, height)
        if self._asked:
            self.mission = self._asked.text

    def gen_mission(self) -> None:
        """Place the agent and the objects, and name a goal (BabyAI's hook)."""
        self.place_agent()
        named = list(self._asked.things) if self._asked else []
        others = [thing for thing in self._free if thing not in named]
        chosen = named + self._rand_subset(others, self.num_objects - len(named))
        placed = [self.add_object(0, 0, kind, color)[0] for kind, color in chosen]
        self.check_objs_reachable()
        self.instrs = _instruct(self._family, placed)


class Find(Level):
    """Face the object that the mission names."""

    families = ("find",)


class Lift(Level):
    """Pick up the object that the mission names; picking up another ends the episode unpaid."""

    families = ("lift",)


class Place(Level):
    """Put the first object that the mission names next to the second."""

    families = ("place",)


class Playroom(Level):
    """Find, Lift and Place in one level; each episode's mission is of one of them.

    Args:
        families: to draw from, each as likely as another.
        **kwargs: those of :class:`Level`.
    """

    def __init__(self, *, families: Sequence[str] = tuple(FORMS), **kwargs: Any) -> None:
        if not families or not set(families) <= set(FORMS):
            raise ValueError(f"families is {families!r}, expected some of {list(FORMS)}.")
        self.families = tuple(families)
        super().__init__(**kwargs)


class _GoTo(GoToInstr):  # type: ignore[misc]
    """Looks for the object where it is; BabyAI's, where it was when something was last dropped."""

    def verify_action(self, action: int) -> str:
        if action == self.env.actions.pickup:
            self.update_objs_poss()
        status: str = super().verify_action(action)
        return status


def _instruct(family: str, placed: Sequence[WorldObj]) -> Instr:
    """Word the mission about the first of the placed objects, which are in random order.

    None is accomplished yet: BabyAI places no object beside the agent, and rejects layouts in
    which the two of a put-next already touch.
    """
    first, second = (ObjDesc(thing.type, thing.color) for thing in placed[:2])
    if family == "find":
        return _GoTo(first)
    if family == "lift":
        return PickupInstr(first, strict=True)
    return PutNextInstr(first, second)
