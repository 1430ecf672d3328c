"""Whether a BabyAI mission is accomplished, read from the state and never from a reward."""

from itertools import product

from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.envs.babyai.core.verifier import GoToInstr, PickupInstr, PutNextInstr

from rllib_vlm_reward.errors import GoalError

__all__ = ["accomplished"]


def accomplished(level: RoomGridLevel) -> bool:
    """Return whether the level's mission holds in its present state.

    Find: a named object is in the cell in front. Lift: a named object is carried. Place: two named
    objects lie at Manhattan distance 1 (BabyAI pays only if the *first* of them was moved; in the
    picture there is no difference). ``instrs.verify()`` is not called: it keeps state.

    Raises:
        GoalError: a mission of another kind.
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
