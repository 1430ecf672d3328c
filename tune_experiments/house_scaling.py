"""Figure 4 in the house: does a CLIP with a better offline curve train a better agent?

    python tune_experiments/house_scaling.py

As paper_scaling.py, in HouseRoom-v0 with the goals to find of
configs/house.yaml, and with the CLIPs in tune_experiments/house_clips/ (made by
`paper_family.py house`). An agent that ground truth pays is the ceiling.

The full setting has 5 sizes and 5 seeds. The script writes
docs/findings/house_scaling.json and .png.
"""

from paper_finding import FIND, HOUSE_CLIPS, finding
from paper_scaling import Scaling, draw

HOUSE_SCALING = Scaling(FIND, HOUSE_CLIPS, ceiling=(("end_on_success", True),))
space = HOUSE_SCALING.space

if __name__ == "__main__":
    finding(
        __doc__,
        "house_scaling",
        space=space,
        summarise=HOUSE_SCALING.summarise,
        draw=draw,
        seeds=5,
        steps=900_000,
    )
