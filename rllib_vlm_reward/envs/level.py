"""BabyAI levels of one room: Find, Lift, Place."""

from collections.abc import Sequence
from typing import Any

from minigrid.core.constants import COLOR_NAMES
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.roomgrid_level import RejectSampling, RoomGridLevel
from minigrid.envs.babyai.core.verifier import GoToInstr, Instr, ObjDesc, PickupInstr, PutNextInstr

__all__ = ["COLORS", "KINDS", "Find", "Level", "Lift", "Place"]

COLORS: tuple[str, ...] = tuple(COLOR_NAMES)
KINDS: tuple[str, ...] = ("ball", "box", "key")


class Level(RoomGridLevel):  # type: ignore[misc]
    """A room of distinct objects, one of which the mission names.

    Args:
        room_size: tiles on a side, walls included.
        num_objects: objects in the room, each another colour or kind.
        colors: colours to draw from.
        kinds: kinds to draw from: ball, box, key.
        max_steps: steps until truncation; None takes BabyAI's own limit, ``room_size ** 2``.
    """

    def __init__(
        self,
        *,
        room_size: int = 6,
        num_objects: int = 3,
        colors: Sequence[str] = COLORS,
        kinds: Sequence[str] = KINDS,
        max_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.objects = [(kind, color) for color in colors for kind in kinds]
        room = (room_size - 2) ** 2
        if not 1 < num_objects <= min(len(self.objects), room // 2):
            raise ValueError(
                f"num_objects is {num_objects}, expected 2 to {min(len(self.objects), room // 2)}: "
                f"there are {len(self.objects)} distinct objects, and the {room} free tiles of "
                "the room must stay half empty. Enlarge room_size, colors or kinds."
            )
        self.num_objects = num_objects
        super().__init__(room_size=room_size, num_rows=1, num_cols=1, max_steps=max_steps, **kwargs)

    def gen_mission(self) -> None:
        """Place the agent and the objects, and name a goal (BabyAI's hook)."""
        self.place_agent()
        chosen = self._rand_subset(self.objects, self.num_objects)
        placed = [self.add_object(0, 0, kind, color)[0] for kind, color in chosen]
        self.check_objs_reachable()
        self.instrs = self.instruction(placed)

    def instruction(self, placed: list[WorldObj]) -> Instr:
        """Return the mission about the placed objects, the first of which is as random as any."""
        raise NotImplementedError


def _describe(thing: WorldObj) -> ObjDesc:
    return ObjDesc(thing.type, thing.color)


class Find(Level):
    """Face the object that the mission names."""

    def instruction(self, placed: list[WorldObj]) -> Instr:
        """Return "go to the red ball"."""
        if tuple(placed[0].cur_pos) == tuple(self.front_pos):
            raise RejectSampling("already reached")
        return GoToInstr(_describe(placed[0]))


class Lift(Level):
    """Pick up the object that the mission names; picking up another ends the episode unpaid."""

    def instruction(self, placed: list[WorldObj]) -> Instr:
        """Return "pick up the red ball"."""
        return PickupInstr(_describe(placed[0]), strict=True)


class Place(Level):
    """Put the first object that the mission names next to the second."""

    def instruction(self, placed: list[WorldObj]) -> Instr:
        """Return "put the red ball next to the blue box"."""
        # BabyAI rejects layouts in which the two already touch (PutNextInstr.objs_next).
        return PutNextInstr(_describe(placed[0]), _describe(placed[1]))
