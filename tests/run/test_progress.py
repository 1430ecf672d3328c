from rllib_vlm_reward.run.progress import Progress


def result(env_steps, **reward):
    return {"env_runners": {"num_env_steps_sampled_lifetime": env_steps, "vlm_reward": reward}}


def test_an_iteration_is_read():
    first = Progress.from_result(result(100), seconds=2.0, sampled_before=0, before=None)
    assert first == Progress(1, 100, 2.0, None, None, None, None, 50.0)
    known = result(
        160,
        vlm_return_mean=0.5,
        ground_truth_return_mean=0.25,
        ground_truth_success=1,
        false_positives_per_episode=0.125,
    )
    second = Progress.from_result(known, seconds=3.0, sampled_before=100, before=first)
    assert second == Progress(2, 160, 5.0, 0.5, 0.25, 1.0, 0.125, 20.0)


def test_an_iteration_without_samples_keeps_the_count():
    first = Progress.from_result(result(100), seconds=2.0, sampled_before=0, before=None)
    for nothing in ({}, {"env_runners": {}}):
        then = Progress.from_result(nothing, seconds=1.0, sampled_before=100, before=first)
        assert then == Progress(2, 100, 3.0, None, None, None, None, 0.0)
    nothing = Progress.from_result({}, seconds=1.0, sampled_before=0, before=None)
    assert nothing.env_steps == 0


def test_steps_of_an_interrupted_iteration_are_not_the_next_ones_speed():
    first = Progress.from_result(result(100), seconds=2.0, sampled_before=0, before=None)
    resumed = Progress.from_result(result(260), seconds=2.0, sampled_before=200, before=first)
    assert (resumed.env_steps, resumed.env_steps_per_second) == (260, 30.0)
