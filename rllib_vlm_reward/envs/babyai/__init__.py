"""BabyAI's rooms with frames as observations, goals in words, and ground truth.

    level (BabyAI) ─ env: frame, goal, success ─▶ RLlib
                   ─ ground_truth, expert, captions ─▶ labels for evaluation and pretraining

* :mod:`env`: the env, and the functions that create it for gymnasium;
* :mod:`level`: the rooms of Find, Lift, Place and Playroom;
* :mod:`mission`: reads a mission's text;
* :mod:`tiles`: draws the egocentric frame from MiniGrid's symbolic view;
* :mod:`rooms`: rooms of all sizes in one env, for pretraining;
* :mod:`captions`: the statements about a view;
* :mod:`ground_truth`: success, and the number of steps to it;
* :mod:`expert`: the actions that BabyAI's bot would take.
"""
