import time
from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.serving.load_balancer import LoadBalancer


class Clock:
    """Time that passes when a test says so."""

    now = 100.0

    def __call__(self):
        return self.now


def client_of(is_local=False):
    return SimpleNamespace(is_local=is_local, reported_waiting=0, reported_at=0.0)


def balancer_of(count, near=(), clock=time.monotonic, pause_s=60.0, seed=0):
    balancer = LoadBalancer(pause_s, clock, seed)
    for index in range(count):
        balancer.add(index, client_of(index in near))
    return balancer


def test_idle_actors_take_turns():
    balancer = balancer_of(3)
    chosen = [balancer.choose() for _ in range(9)]
    assert Counter(chosen) == {0: 3, 1: 3, 2: 3}


def test_clients_begin_with_different_actors():
    first = {balancer_of(50, seed=seed).choose() for seed in range(50)}
    assert len(first) > 20


@given(
    count=st.integers(1, 9),
    near=st.sets(st.integers(0, 8)),
    seed=st.integers(0, 9),
    deeds=st.lists(st.sampled_from(["send", "end"]), max_size=40),
    data=st.data(),
)
def test_the_busiest_is_never_chosen_and_of_two_the_other(count, near, seed, deeds, data):
    balancer, under_way = balancer_of(count, near, seed=seed), [0] * count
    for deed in deeds:
        if deed == "send":
            actor = balancer.choose()
            assert sum(load >= under_way[actor] for load in under_way) > min(1, count - 1)
            frames = data.draw(st.integers(1, 3))
            balancer.sent(actor, frames)
            under_way[actor] += frames
        elif busy := [i for i in range(count) if under_way[i]]:
            actor = data.draw(st.sampled_from(busy))
            balancer.ended(actor, under_way[actor])
            under_way[actor] = 0


def test_the_fullest_of_many_actors_has_hardly_more_than_the_mean():
    balancer, under_way = balancer_of(256), Counter()
    for _ in range(256 * 16):
        actor = balancer.choose()
        balancer.sent(actor, 1)
        under_way[actor] += 1
    # One drawn at random would have 29 at most and 5 at least, on average.
    assert 14 <= min(under_way.values()) <= max(under_way.values()) <= 18


def test_a_choice_looks_at_two_actors_however_many_there_are():
    balancer, looked_at = balancer_of(1000), []
    load = balancer._load
    balancer._load = lambda actor, now: looked_at.append(actor) or load(actor, now)
    for _ in range(100):
        balancer.choose(tried=[1, 2, 3])
    assert len(looked_at) == 200


@given(
    count=st.integers(1, 6),
    near=st.sets(st.integers(0, 5)),
    tried=st.sets(st.integers(0, 5)),
    dead=st.sets(st.integers(0, 5)),
    late=st.sets(st.integers(0, 5)),
    seed=st.integers(0, 9),
)
def test_tried_and_dead_actors_are_never_chosen_and_late_ones_last(
    count, near, tried, dead, late, seed
):
    balancer = balancer_of(count, near, seed=seed)
    for actor in dead & set(range(count)):
        balancer.dead(actor)
    for actor in late & set(range(count)):
        balancer.late(actor)
    usable = set(range(count)) - tried - dead
    chosen = {balancer.choose(tried=list(tried)) for _ in range(60)}
    # They take turns, so all of them come up.
    if usable - late:
        assert chosen <= usable - late
    else:
        assert chosen == (usable or {None})


def test_a_late_actor_is_left_alone_for_a_while_but_better_than_none():
    clock = Clock()
    balancer = balancer_of(2, clock=clock, pause_s=5.0)
    balancer.late(0)
    for _ in range(3):
        balancer.sent(balancer.choose(), 1)
    assert balancer.choose(tried=[1]) == 0
    assert balancer.choose() == 1  # busier, but not late
    clock.now += 5.1
    assert balancer.choose() == 0


def test_an_actor_of_the_same_node_is_preferred_until_it_has_more_to_do():
    balancer = balancer_of(3)
    balancer.clients[2].is_local = True
    balancer.located()
    assert {balancer.choose() for _ in range(6)} == {2}
    balancer.sent(2, 1)
    assert {balancer.choose() for _ in range(40)} == {0, 1}


def test_two_actors_of_the_same_node_take_turns():
    balancer = balancer_of(64, near={3, 40})
    assert Counter(balancer.choose() for _ in range(10)) == {3: 5, 40: 5}


def test_what_an_actor_reported_of_its_queue_counts_while_it_is_fresh():
    clock = Clock()
    balancer = balancer_of(2, clock=clock)
    balancer.clients[0].reported_waiting, balancer.clients[0].reported_at = 50, clock.now
    assert {balancer.choose() for _ in range(4)} == {1}
    balancer.sent(1, 60)  # more than the others' 50
    assert {balancer.choose() for _ in range(4)} == {0}
    balancer.ended(1, 60)
    clock.now += 2.0
    assert {balancer.choose() for _ in range(4)} == {0, 1}


def test_the_first_actor_is_the_same_for_all_clients_and_moves_on_when_it_died():
    balancer = balancer_of(3)
    assert [balancer.first() for _ in range(3)] == [0, 0, 0]
    assert balancer.first(tried=[0]) == 1
    balancer.dead(0)
    assert balancer.first() == 1


def test_an_actor_that_was_started_anew_is_chosen_again():
    balancer = balancer_of(2)
    balancer.dead(1)
    balancer.add(1, client_of())
    balancer.add(2, client_of())
    assert {balancer.choose() for _ in range(6)} == {0, 1, 2}
