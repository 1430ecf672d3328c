"""Plans the actions to a goal on the state, and advises the agent."""

import dataclasses
import heapq
import math
from collections.abc import Callable, Iterator
from itertools import count

from rllib_vlm_reward.envs.house.grid import Grid
from rllib_vlm_reward.envs.house.ground_truth import (
    GAP,
    NEAR,
    accomplished,
    fits_beside,
    is_near,
)
from rllib_vlm_reward.envs.house.mission import Mission
from rllib_vlm_reward.envs.house.scene import (
    AGENT_RADIUS,
    DROP_GAP,
    REACH,
    STEP,
    TURN,
    Action,
    Place,
    Pose,
    Scene,
)

__all__ = ["Expert", "plan"]

_HEADINGS = round(2 * math.pi / TURN)
_SAME = 0.1  # metres between two poses that the search takes for one
_GREED = 1.2  # a plan is at most this much longer than the shortest, and found much earlier
_MOST = 30_000  # poses that a search looks at before it gives up


class Expert:
    """Advises the agent in one episode, even if the agent does not follow the advice.

    Args:
        scene: the state, which the env changes.
        mission: the goal.
        can_drop: whether the agent has the action :attr:`.Action.DROP`.

    Example:
        >>> import numpy as np
        >>> from rllib_vlm_reward.envs.house.layout import draw_scene
        >>> scene = draw_scene(np.random.default_rng(0), num_rooms=2, names=["duckie", "cone"])
        >>> expert = Expert(scene, Mission.of("lift", ["duckie"]))
        >>> while (action := expert.advise()) is not None:
        ...     scene.act(action)
        ...     expert.see(action)
        >>> scene.carried, expert.steps_to_go()
        (0, 0.0)
    """

    def __init__(self, scene: Scene, mission: Mission, *, can_drop: bool = True) -> None:
        self._scene = scene
        self._mission = mission
        self._can_drop = can_drop
        self._plan: list[Action] = []

    def see(self, action: int) -> None:
        """Record an action that the agent took; after another than advised, a new plan is due."""
        self._plan = self._plan[1:] if self._plan[:1] == [action] else []

    def advise(self) -> Action | None:
        """Return the next action of the plan; None if the goal is reached, or without a plan."""
        return self._plan[0] if self._renew() else None

    def steps_to_go(self) -> float:
        """Return the length of the plan: 0 if the goal is reached, ``inf`` without a plan."""
        if accomplished(self._scene, self._mission):
            return 0.0
        return float(len(self._plan)) if self._renew() else math.inf

    def _renew(self) -> bool:
        if accomplished(self._scene, self._mission):
            self._plan = []
        elif not self._plan:
            self._plan = plan(self._scene, self._mission, can_drop=self._can_drop) or []
        return bool(self._plan)


def plan(scene: Scene, mission: Mission, *, can_drop: bool = True) -> list[Action] | None:
    """Return actions that lead to the goal; None if there are none.

    The plan goes to the thing of the goal, picks it up, carries it and drops it, as the goal needs.
    Each of these ways is the shortest up to a fifth. The plan moves no other thing out of the way,
    but drops one that the agent carries. There is none after a wrong pick-up in Lift, which ends
    the episode.

    Args:
        scene: the state, which stays as it is.
        mission: the goal.
        can_drop: whether the agent has the action :attr:`.Action.DROP`.
    """
    state, actions = scene.copy(), list[Action]()
    while not accomplished(state, mission):
        way = _next_way(state, mission, can_drop=can_drop)
        if way is None:
            return None
        for action in way:
            state.act(action)
        actions += way
    return actions


def _next_way(scene: Scene, mission: Mission, *, can_drop: bool) -> list[Action] | None:
    """Return the actions until the next thing is picked up, dropped or found."""
    held, family = scene.carried, mission.family
    if family == "find" and held != 0:
        return _search(scene, lambda pose: is_near(scene, 0, pose), scene.places[0], NEAR)
    if family != "find" and held is None:
        way = _search(scene, lambda pose: scene.in_reach(pose) == 0, scene.places[0], REACH)
        return None if way is None else [*way, Action.PICK_UP]
    if not can_drop or held is None or family == "lift":
        return None
    if family == "place" and held in (0, 1):
        other, radius = 1 - held, scene.kinds[held].radius
        apart = AGENT_RADIUS + DROP_GAP + 2 * radius + scene.kinds[other].radius + GAP

        def beside(pose: Pose) -> bool:
            place = scene.drop_place(pose)
            return place is not None and fits_beside(scene, held, place, other)

        way = _search(scene, beside, scene.places[other], apart)
    else:
        way = _search(scene, lambda pose: scene.drop_place(pose) is not None)
    return None if way is None else [*way, Action.DROP]


def _search(
    scene: Scene,
    reached: Callable[[Pose], bool],
    end: Place | None = None,
    radius: float = 0.0,
) -> list[Action] | None:
    """Return turns and steps to a pose (A*); None if there is no way.

    Args:
        scene: the state.
        reached: whether a pose is one to go to.
        end: a place that all such poses are near to; None knows of none.
        radius: how near, in metres.
    """
    grid = Grid(scene)
    field = None if end is None else grid.distances(end, radius)

    def rest(pose: Pose) -> float:
        if field is None:
            return 0.0
        return _GREED * grid.at(field, pose.x, pose.z) / STEP

    order, root = count(), _Node(scene.agent)
    queue = [(rest(root.pose), next(order), root)]
    costs = {root.key(root): 0}
    done: set[tuple[int, int, int]] = set()
    while queue and len(done) < _MOST:
        _, _, node = heapq.heappop(queue)
        key = node.key(root)
        if key in done:
            continue
        done.add(key)
        if reached(node.pose):
            return node.actions()
        for after in node.next(scene):
            key = after.key(root)
            if after.cost < costs.get(key, math.inf) and (least := rest(after.pose)) < math.inf:
                costs[key] = after.cost
                heapq.heappush(queue, (after.cost + least, next(order), after))
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class _Node:
    """A pose, and the action that led to it."""

    pose: Pose
    before: "_Node | None" = None
    action: Action | None = None
    cost: int = 0

    def key(self, root: "_Node") -> tuple[int, int, int]:
        """Return what is the same for poses that the search takes for one."""
        turns = round((self.pose.heading - root.pose.heading) / TURN) % _HEADINGS
        return round(self.pose.x / _SAME), round(self.pose.z / _SAME), turns

    def next(self, scene: Scene) -> Iterator["_Node"]:
        """Yield what follows from a turn or a step."""
        yield _Node(self.pose.turned(TURN), self, Action.LEFT, self.cost + 1)
        yield _Node(self.pose.turned(-TURN), self, Action.RIGHT, self.cost + 1)
        x, z = self.pose.ahead(STEP)
        if scene.is_free(x, z, AGENT_RADIUS):
            yield _Node(self.pose._replace(x=x, z=z), self, Action.FORWARD, self.cost + 1)

    def actions(self) -> list[Action]:
        """Return the actions from the root to this pose."""
        taken: list[Action] = []
        node: _Node | None = self
        while node is not None and node.action is not None:
            taken.append(node.action)
            node = node.before
        return taken[::-1]
