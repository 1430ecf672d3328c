"""How good is the reward? Labelled frames, and what a reward says of them.

* :mod:`labelled`: frames with their goals and the truth, as Parquet.
"""
