"""BabyAI levels with one room: Find, Lift, Place, and Playroom, which has all three."""

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
    """A room with distinct objects; the mission names one or two of them.

    Each reset draws a mission. To choose the mission, call
    ``reset(options={"goal": "pick up a red ball"})``: the room then has the named objects, and the
    mission has exactly this text.

    Args:
        room_size: side of the room in tiles, including the walls.
        num_objects: number of objects in the room; no two have the same colour and kind.
        colors: the colours of the objects.
        kinds: the kinds of the objects: ball, box, key.
        reserved: things, such as "green ball", that are in the room only if the mission names them.
            Use it for things that are held out for evaluation: if an agent sees them in training,
            where no goal names them, it learns to avoid them.
        max_steps: number of steps until truncation; None takes BabyAI's limit, ``room_size ** 2``,
            or twice that if the mission names two objects.

    Attributes:
        families: the families of missions: find, lift, place.

    Raises:
        ValueError: ``num_objects`` does not fit, or a reserved thing does not exist.
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
            raise ValueError(
                f"reserved: got {list(reserved)}, expected some of {list(names)}. Correct the "
                "names."
            )
        kept = [names[name] for name in reserved]
        self._free: list[Thing] = [thing for thing in self.objects if thing not in kept]
        room = (room_size - 2) ** 2
        if not 1 < num_objects <= min(len(self._free), room // 2):
            raise ValueError(
                f"num_objects: got {num_objects}, expected 2 to "
                f"{min(len(self._free), room // 2)}: there are {len(self._free)} distinct objects, "
                f"and half of the {room} free tiles of the room must stay empty. Change "
                "num_objects, or enlarge room_size, colors or kinds."
            )
        self.num_objects = num_objects
        super().__init__(room_size=room_size, num_rows=1, num_cols=1, max_steps=max_steps, **kwargs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Create a room and its mission.

        Args:
            seed: seed for the room, and for the mission if it is drawn.
            options: ``goal`` is the mission's text; without it, the level draws a mission.

        Raises:
            GoalError: the goal is not a mission of this level.
        """
        goal = (options or {}).get("goal")
        chosen = None if goal is None else Mission.read(goal, self.families, self.objects)
        self._chosen: Mission | None = chosen
        result: tuple[dict[str, Any], dict[str, Any]] = super().reset(seed=seed, options=options)
        return result

    def _gen_grid(self, width: int, height: int) -> None:
        # The family is drawn once and not again for each layout, since BabyAI rejects more layouts
        # for some families than for others.
        family = self._chosen.family if self._chosen else self._rand_elem(self.families)
        self._family: str = family
        super()._gen_grid(width, height)
        if self._chosen:
            self.mission = self._chosen.text

    def gen_mission(self) -> None:
        """Place the agent and the objects, and set the instruction (BabyAI's hook)."""
        self.place_agent()
        named = list(self._chosen.things) if self._chosen else []
        others = [thing for thing in self._free if thing not in named]
        chosen = named + self._rand_subset(others, self.num_objects - len(named))
        placed = [self.add_object(0, 0, kind, color)[0] for kind, color in chosen]
        self.check_objs_reachable()
        self.instrs = _instruct(self._family, placed)


class Find(Level):
    """Face the object that the mission names."""

    families = ("find",)


class Lift(Level):
    """Pick up the object that the mission names; another pickup ends the episode as a failure."""

    families = ("lift",)


class Place(Level):
    """Put the first object that the mission names next to the second."""

    families = ("place",)


class Playroom(Level):
    """Find, Lift and Place in one level; each episode has a mission of one of them.

    Args:
        families: the families to draw from, all with the same chance.
        **kwargs: the arguments of :class:`Level`.

    Raises:
        ValueError: a family does not exist, or see :class:`Level`.
    """

    def __init__(self, *, families: Sequence[str] = tuple(FORMS), **kwargs: Any) -> None:
        if not families or not set(families) <= set(FORMS):
            raise ValueError(
                f"families: got {families!r}, expected some of {list(FORMS)}. Correct the names."
            )
        self.families = tuple(families)
        super().__init__(**kwargs)


class _GoTo(GoToInstr):  # type: ignore[misc]
    """Compares with the object's present position; BabyAI's class may use an older position."""

    def verify_action(self, action: int) -> str:
        if action == self.env.actions.pickup:
            self.update_objs_poss()
        status: str = super().verify_action(action)
        return status


def _instruct(family: str, placed: Sequence[WorldObj]) -> Instr:
    """Return the instruction for the first one or two of the placed objects.

    No mission is accomplished at the start: BabyAI places no object beside the agent, and it
    rejects layouts in which the two objects of a put-next are already adjacent.
    """
    first, second = (ObjDesc(thing.type, thing.color) for thing in placed[:2])
    if family == "find":
        return _GoTo(first)
    if family == "lift":
        return PickupInstr(first, strict=True)
    return PutNextInstr(first, second)
