import time
from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.serving.routing import Router


def router_of(count, pause_s=60.0):
    def actor(index):
        return SimpleNamespace(score=SimpleNamespace(remote=lambda *args: (index, args)))

    return Router([actor(index) for index in range(count)], pause_s)


def test_send_calls_the_method_of_that_actor():
    assert router_of(3).send(1, "score", ("frames", "goals")) == (1, ("frames", "goals"))


def test_idle_actors_take_turns():
    router = router_of(3)
    chosen = [router.choose() for _ in range(9)]
    assert Counter(chosen) == {0: 3, 1: 3, 2: 3}


@given(
    count=st.integers(1, 5),
    deeds=st.lists(st.sampled_from(["send", "end"]), max_size=40),
    data=st.data(),
)
def test_the_least_loaded_is_chosen_whatever_happened_before(count, deeds, data):
    router, under_way = router_of(count), [0] * count
    for deed in deeds:
        if deed == "send":
            actor = router.choose()
            assert under_way[actor] == min(under_way)
            router.send(actor, "score", ())
            under_way[actor] += 1
        elif busy := [i for i in range(count) if under_way[i]]:
            actor = data.draw(st.sampled_from(busy))
            router.ended(actor)
            under_way[actor] -= 1


def test_tried_and_dead_actors_are_never_chosen():
    router = router_of(3)
    router.dead(0)
    assert {router.choose(tried=[2]) for _ in range(5)} == {1}
    assert router.choose(tried=[1, 2]) is None


def test_a_late_actor_is_left_alone_for_a_while_but_better_than_none():
    router = router_of(2, pause_s=0.05)
    router.late(0)
    for _ in range(3):
        router.send(router.choose(), "score", ())
    assert router.choose(tried=[1]) == 0
    assert router.choose() == 1  # busier, but not late
    time.sleep(0.06)
    assert router.choose() == 0
