"""BabyAI's rooms as an agent sees them: frames, a mission in words, and ground truth.

    level (BabyAI) ─ env: frame, goal, success ─▶ RLlib
                   ─ ground_truth, expert, captions ─▶ labels for evaluation and pretraining

* :mod:`env`: the env that is registered with gymnasium, and the functions that make it;
* :mod:`level`: the rooms of Find, Lift, Place and Playroom;
* :mod:`mission`: which things a text names, and which texts a level can pose;
* :mod:`tiles`: the egocentric frame, drawn from MiniGrid's symbolic view;
* :mod:`captions`: which statements hold in a view;
* :mod:`ground_truth`: success, and the steps to it;
* :mod:`expert`: what BabyAI's bot would do.
"""
