"""The default: procedural birds with known evidence, in minutes on two cores.

    python main.py --rank=family --mode=train
    python main.py --rank=species --mode=train
    python main.py --mode=compare --ranks=species,family

48 species in 4 orders, 8 families and 16 genera; the body plan shows the order, bill
and tail the family, the wing pattern the genus and the place of a bright patch the
species. Fine-tunes the weights that ship with the package; from scratch with
`--config.model.weights=none`.
"""

from ml_collections import ConfigDict

from . import default


def get_config():
    """Returns the experiment."""
    config = default.get_config()
    config.name = "synthetic_birds"

    data = config.data
    data.source = "synthetic_birds"
    data.root = "data/synthetic_birds"
    data.noun = "bird"
    data.image_size = 128
    data.synthetic = ConfigDict()
    data.synthetic.orders = 4
    data.synthetic.families = 2  # in each order, and so on down
    data.synthetic.genera = 2
    data.synthetic.species = 3
    data.synthetic.images_per_species = 60
    data.synthetic.images_per_burst = 1  # pictures of one individual, in one group
    data.synthetic.image_size = (150, 220)  # px, smallest and largest side
    data.synthetic.habitat_correlation = 0.8  # P(a bird is in its family's habitat)
    data.synthetic.distractors = False  # strew patches like the species' one about
    data.synthetic.seed = 0

    augment = config.augment  # nothing that could destroy a trait
    augment.crop_jitter = 0.5
    augment.saturation = 0.1
    augment.erasing_probability = 0.2
    augment.erasing_area = (0.002, 0.01)  # smaller than the smallest patch

    config.model.weights = "synthetic"
    config.model.output_stride = 16  # 8 x 8 cells
    config.model.bn_momentum = 0.9
    config.model.drop_connect = 0.0

    config.study.habitats = (0.0, 1.0)

    config.train.epochs = 2
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 0.3
    return config
