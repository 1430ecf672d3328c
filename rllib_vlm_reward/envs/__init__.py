"""Envs with language goals and ground truth, all registered with gymnasium.

`registration.py` has their ids. `captions.py` is what each of them says about its present frame.
"""
