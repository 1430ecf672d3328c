"""Ground truth from the level's state: success, and the number of actions to it."""

import dataclasses
import heapq
import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from types import MappingProxyType

from minigrid.core.constants import DIR_TO_VEC
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.envs.babyai.core.verifier import GoToInstr, PickupInstr, PutNextInstr

from rllib_vlm_reward.errors import GoalError

__all__ = ["accomplished", "steps_to_go"]

Cell = tuple[int, int]
Pose = tuple[int, int, int]  # x, y, direction

_STEPS: tuple[Cell, ...] = tuple((int(dx), int(dy)) for dx, dy in DIR_TO_VEC)
_OTHER = -1  # the role of a thing that the mission does not name


def accomplished(level: RoomGridLevel) -> bool:
    """Return whether the mission is accomplished in the level's present state.

    Find: a named object is in the cell in front of the agent. Lift: the agent carries a named
    object. Place: the two named objects are at Manhattan distance 1. (BabyAI also requires that
    the *first* of them was moved, but a picture cannot show that.) ``instrs.verify()`` is not used,
    because it changes the level's state.

    Raises:
        GoalError: the mission is of another kind.
    """
    instruction = level.instrs
    if isinstance(instruction, GoToInstr):
        front = tuple(level.front_pos)
        return any(
            thing is not level.carrying and tuple(thing.cur_pos) == front
            for thing in instruction.desc.obj_set
        )
    if isinstance(instruction, PickupInstr):
        return any(thing is level.carrying for thing in instruction.desc.obj_set)
    if isinstance(instruction, PutNextInstr):
        pairs = product(instruction.desc_move.obj_set, instruction.desc_fixed.obj_set)
        return any(
            level.carrying not in pair
            and sum(abs(a - b) for a, b in zip(pair[0].cur_pos, pair[1].cur_pos, strict=True)) == 1
            for pair in pairs
        )
    raise GoalError(
        f"mission {level.mission!r}: got a {type(instruction).__name__}, expected go to, pick up "
        "or put next. Choose a level with one such instruction."
    )


def steps_to_go(level: RoomGridLevel, *, can_drop: bool = True) -> float:
    """Return the number of actions of the shortest plan to success, from the present state.

    Success is defined by :func:`accomplished`; the actions are MiniGrid's left, right, forward,
    pickup and drop. A plan may move the things that the mission names (in Place, either of the two)
    and drop another thing that the agent carries. It does not move other things out of the way or
    open doors, and it ignores the time limit. There is no plan after a wrong pickup in a strict
    Lift, where BabyAI ends the episode.

    Args:
        level: a level with a go-to, pick-up or put-next mission.
        can_drop: whether the agent has the action ``drop``.

    Returns:
        The number of actions: 0 if the mission is accomplished, ``inf`` if there is no plan.

    Raises:
        GoalError: the mission is of another kind.

    Example:
        >>> from rllib_vlm_reward.envs.babyai.env import make_find
        >>> env = make_find(room_size=5, num_objects=2)
        >>> _ = env.reset(seed=0)
        >>> steps_to_go(env.unwrapped) >= 1
        True
    """
    if accomplished(level):
        return 0.0
    x, y = level.agent_pos
    return _table(_Scene.of(level, can_drop)).get((int(x), int(y), int(level.agent_dir)), math.inf)


@dataclasses.dataclass(frozen=True, slots=True)
class _Scene:
    """The state of the room without the agent's pose.

    The role of a thing is the index, 0 or 1, of the mission's set of objects that it belongs to.
    """

    mission: type
    floor: frozenset[Cell]  # where the agent can stand
    empty: frozenset[Cell]  # where a thing can lie
    lying: frozenset[tuple[Cell, int]]
    held: int | None
    can_drop: bool

    @classmethod
    def of(cls, level: RoomGridLevel, can_drop: bool) -> "_Scene":
        instruction, held = level.instrs, level.carrying
        if isinstance(instruction, PutNextInstr):
            sets = [instruction.desc_move.obj_set, instruction.desc_fixed.obj_set]
        else:
            sets = [instruction.desc.obj_set]
        roles = {id(thing): role for role, things in enumerate(sets) for thing in things}
        grid = level.grid
        things = {at: grid.get(*at) for at in product(range(grid.width), range(grid.height))}
        failed = isinstance(instruction, PickupInstr) and instruction.strict and held is not None
        return cls(
            next(kind for kind in _EXITS if isinstance(instruction, kind)),
            frozenset(at for at, thing in things.items() if thing is None or thing.can_overlap()),
            frozenset(at for at, thing in things.items() if thing is None),
            frozenset((at, roles[id(thing)]) for at, thing in things.items() if id(thing) in roles),
            None if held is None else roles.get(id(held), _OTHER),
            can_drop and not failed,
        )

    def without(self, at: Cell, role: int) -> "_Scene":
        """Return the scene after the agent picks up the thing at this cell."""
        return dataclasses.replace(
            self,
            floor=self.floor | {at},
            empty=self.empty | {at},
            lying=self.lying - {(at, role)},
            held=role,
        )

    def dropped(self, at: Cell) -> "_Scene":
        """Return the scene after the agent drops a thing that the mission does not name."""
        return dataclasses.replace(
            self, floor=self.floor - {at}, empty=self.empty - {at}, held=None
        )


@lru_cache(maxsize=4096)
def _table(scene: _Scene) -> MappingProxyType[Pose, float]:
    """Return the number of actions to success for each pose with a plan (Dijkstra, backwards)."""
    queue = [
        (cost, (*at, direction))
        for at in scene.floor
        for direction in range(4)
        if (cost := _exit(scene, (*at, direction))) < math.inf
    ]
    heapq.heapify(queue)
    costs: dict[Pose, float] = {}
    while queue:
        cost, pose = heapq.heappop(queue)
        if pose not in costs:
            costs[pose] = cost
            for before in _before(scene, pose):
                if before not in costs:
                    heapq.heappush(queue, (cost + 1, before))
    return MappingProxyType(costs)


def _before(scene: _Scene, pose: Pose) -> Iterator[Pose]:
    """Yield the poses from which one turn or step leads to this pose."""
    x, y, direction = pose
    yield x, y, (direction - 1) % 4
    yield x, y, (direction + 1) % 4
    dx, dy = _STEPS[direction]
    if (x - dx, y - dy) in scene.floor:
        yield x - dx, y - dy, direction


def _exit(scene: _Scene, pose: Pose) -> float:
    """Return the number of actions to success for plans that do not turn or walk first."""
    x, y, direction = pose
    front = x + _STEPS[direction][0], y + _STEPS[direction][1]
    return _EXITS[scene.mission](scene, pose, front)


def _find(scene: _Scene, pose: Pose, front: Cell) -> float:
    if (front, 0) in scene.lying:
        return 0
    return 1 if scene.held == 0 and scene.can_drop and front in scene.empty else math.inf


def _lift(scene: _Scene, pose: Pose, front: Cell) -> float:
    if scene.held is not None:
        return _drop_other(scene, pose, front)
    return 1 if (front, 0) in scene.lying else math.inf


def _place(scene: _Scene, pose: Pose, front: Cell) -> float:
    if scene.held is None:
        taken = [scene.without(front, role) for role in (0, 1) if (front, role) in scene.lying]
        return min((1 + _table(after).get(pose, math.inf) for after in taken), default=math.inf)
    if scene.held == _OTHER:
        return _drop_other(scene, pose, front)
    if not scene.can_drop or front not in scene.empty:
        return math.inf
    beside = {((front[0] + dx, front[1] + dy), 1 - scene.held) for dx, dy in _STEPS}
    return 1 if beside & scene.lying else math.inf


def _drop_other(scene: _Scene, pose: Pose, front: Cell) -> float:
    if not scene.can_drop or front not in scene.empty:
        return math.inf
    return 1 + _table(scene.dropped(front)).get(pose, math.inf)


_EXITS = {GoToInstr: _find, PickupInstr: _lift, PutNextInstr: _place}
