"""Envs with language goals and ground truth, all registered with gymnasium.

`captions.py` is what each of them says about its present frame.
"""
