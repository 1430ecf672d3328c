import time
from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.serving.router import Router


def client_of():
    return SimpleNamespace(is_local=False, reported_waiting=0, reported_at=0.0)


def router_of(count, pause_s=60.0):
    router = Router(pause_s)
    for index in range(count):
        router.add(index, client_of())
    return router


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
            frames = data.draw(st.integers(1, 3))
            router.sent(actor, frames)
            under_way[actor] += frames
        elif busy := [i for i in range(count) if under_way[i]]:
            actor = data.draw(st.sampled_from(busy))
            router.ended(actor, under_way[actor])
            under_way[actor] = 0


def test_tried_and_dead_actors_are_never_chosen():
    router = router_of(3)
    router.dead(0)
    assert {router.choose(tried=[2]) for _ in range(5)} == {1}
    assert router.choose(tried=[1, 2]) is None


def test_a_late_actor_is_left_alone_for_a_while_but_better_than_none():
    router = router_of(2, pause_s=0.05)
    router.late(0)
    for _ in range(3):
        router.sent(router.choose(), 1)
    assert router.choose(tried=[1]) == 0
    assert router.choose() == 1  # busier, but not late
    time.sleep(0.06)
    assert router.choose() == 0


def test_an_actor_of_the_same_node_is_preferred_until_it_has_more_to_do():
    router = router_of(3)
    router.clients[2].is_local = True
    assert {router.choose() for _ in range(6)} == {2}
    router.sent(2, 1)
    assert {router.choose() for _ in range(6)} == {0, 1}


def test_what_an_actor_reported_of_its_queue_counts_while_it_is_fresh():
    router = router_of(2)
    router.clients[0].reported_waiting, router.clients[0].reported_at = 50, time.monotonic()
    assert {router.choose() for _ in range(4)} == {1}
    router.sent(1, 60)  # more than the others' 50
    assert {router.choose() for _ in range(4)} == {0}
    router.ended(1, 60)
    router.clients[0].reported_at -= 2.0
    assert {router.choose() for _ in range(4)} == {0, 1}


def test_the_first_actor_is_the_same_for_all_clients_and_moves_on_when_it_died():
    router = router_of(3)
    assert [router.first() for _ in range(3)] == [0, 0, 0]
    assert router.first(tried=[0]) == 1
    router.dead(0)
    assert router.first() == 1


def test_an_actor_that_was_started_anew_is_chosen_again():
    router = router_of(2)
    router.dead(1)
    router.add(1, client_of())
    router.add(2, client_of())
    assert {router.choose() for _ in range(6)} == {0, 1, 2}
