"""Microseconds to choose the actor of one request, over the number of actors.

    python benchmarks/routing.py

Compares the rule that is used, the better of two, with one that looks at all actors, as it was
until commit 4e006ac. The CPU time is that of a choice, a request that is sent and one that ended,
with 32 under way: all that one request asks of the rule. Ray is not started. Prints one JSON object
last.
"""

import time
from collections import deque
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from report import finish, in_turn, parser, spread

from rllib_vlm_reward.serving.load_balancer import LoadBalancer

IN_FLIGHT, FRAMES = 32, 16


class LeastOfAll(LoadBalancer[Any]):
    """Looks at all actors for each request."""

    def choose(self, tried: Collection[int] = ()) -> int | None:
        """Return the actor with the least to do, one on this node first, else in turn."""
        now = self._clock()
        self._turn += 1
        return min(
            [i for i in self.clients if i not in tried and i not in self._dead],
            key=lambda i: (
                self._paused_until.get(i, 0.0) > now,
                self._load(i, now),
                not self.clients[i].is_local,
                (i - self._turn) % len(self.clients),
            ),
            default=None,
        )


RULES = {"better_of_two": LoadBalancer, "least_of_all": LeastOfAll}


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=15, precision=None)
    options.add_argument("--actors", type=int, nargs="+", default=[1, 8, 64, 1024])
    options.add_argument("--requests", type=int, default=2000, help="of each measurement")
    args = options.parse_args()
    sides = {
        (rule, count): lambda rule=rule, count=count: choice_us(RULES[rule], count, args.requests)
        for rule in RULES
        for count in args.actors
    }
    found = in_turn(sides, args.repeats)
    figures = {
        "choice_us": {
            rule: {str(count): spread(found[rule, count]) for count in args.actors}
            for rule in RULES
        }
    }
    finish("routing", figures, vars(args), args.out)


def choice_us(rule: type[LoadBalancer[Any]], actors: int, requests: int) -> float:
    """Return the microseconds of CPU time that one request takes, on average."""
    balancer = rule(pause_s=60.0)
    for index in range(actors):
        client = SimpleNamespace(is_local=False, reported_waiting=0, reported_at=0.0)
        balancer.add(index, client)
    balancer.choose()  # sorts the actors, once
    under_way: deque[int] = deque()
    start = time.process_time()
    for _ in range(requests):
        if len(under_way) == IN_FLIGHT:
            balancer.ended(under_way.popleft(), FRAMES)
        actor = balancer.choose()
        assert actor is not None
        balancer.sent(actor, FRAMES)
        under_way.append(actor)
    return 1e6 * (time.process_time() - start) / requests


if __name__ == "__main__":
    main()
