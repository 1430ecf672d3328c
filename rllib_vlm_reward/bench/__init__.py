"""How fast is this machine, and what is the bottleneck of a run?

* :mod:`limit`: frames/s of the CLIP alone;
* :mod:`traffic`: clients that send requests as env runners do, without an env;
* :mod:`served`: frames/s through pool and connector;
* :mod:`iteration`: seconds of a run's iterations, with its reward and without;
* :mod:`breakdown`: where the time goes;
* :mod:`tables`: the breakdown as tables and a picture;
* :mod:`bench`: two functions that run all of this.

Import from these modules: a client's process needs only ``traffic``.
"""
