"""iNatLoc500 (Cole et al. 2022, arXiv:2207.10225): localization at any granularity.

    python main.py --config=configs/inatloc500.py --mode=granularity
    python main.py --config=configs/inatloc500.py --mode=train --rank=family
    python main.py --config=configs/inatloc500.py --mode=localize --rank=family

The first trains at every rank that has two taxa or more, at output stride 32 and, their
high-resolution variant, at 16, with two seeds each, and writes MaxBoxAccV2 against the
rank (`--config.sweep.ranks="('species','family')"`, `--config.sweep.seeds="(0,1,2)"`).
Maps are of the true class, as the protocol has it; `--config.sweep.target=predicted`
asks for the model's own answer.

A real run needs the data set's images (18.9 GB; 138,000 for training, without boxes,
and 12,500 for validation and for test, each with one box) and its metadata (32 MB) from
the Caltech Research Data Repository, record 20229, unpacked to

    data/inatloc500/images/     train/, val/ and test/ with their folders of species
    data/inatloc500/metadata/   train/, val/, test/, class_names*.txt

or elsewhere: --data_dir names the images, --config.data.choe.metadata the lists. It
has labels at seven ranks, so the same training can be done at each of them (the paper's
question is which granularity localizes best).

What the lists hold, as seen in the public archive: image_sizes.txt is width,height and
localization.txt x0,y0,x1,y1, although the README says height before width and
x_min,x_max,y_min,y_max; paths such as `val/Aves/Accipiter gentilis/<name>.jpg`, with a
blank in the folder; binomials in class_names; and a stray folder `.ipynb_checkpoints/`,
which is not read. The order is checked against the boxes and the images all the same.

How long it takes: 138,000 images x 10 epochs = 1.38 million a training; 7 ranks x 2
strides x 2 seeds = 28 trainings, 38.6 million images. At an assumed 1,000 images a
second that is 10.7 hours, and 10.7 x 1,000 / (img/s) at any other rate. The assumption
is none that was measured: NVIDIA publishes 1,078 (TF32) and 2,489 (mixed precision)
images a second for training EfficientNet-B0 in PyTorch on one A100 80GB; ResNet50 at
stride 16 is the heavier network. The log of the first epoch has the true rate. Maps
of 25,000 images for each of the 28 models come on top. On a CPU this is weeks.

Not measured here: anything on the real data, which cannot be had in the build
environment, and anything on a GPU. Tested here: this config, with a tiny network, on
drawn birds in the same format. The hyperparameters are ours: those of the
paper are unknown, as its code was not published.

Localization looks at whole images resized without a crop; training crops as usual.
"""

from . import default


def get_config():
    """Returns the experiment."""
    config = default.get_config()
    config.name = "inatloc500"

    data = config.data
    data.source = "choe"
    data.root = "data/inatloc500/images"
    data.choe.metadata = "data/inatloc500/metadata"
    data.image_size = 224
    data.cache_mb = 0  # 138,000 windows do not fit

    config.augment.brightness = 0.0
    config.augment.contrast = 0.0
    config.augment.saturation = 0.0
    config.augment.erasing_probability = 0.0

    config.model.backbone = "resnet50"
    config.model.weights = "imagenet"
    config.model.output_stride = 32  # 7 x 7 cells
    config.sweep.train_strides = (32, 16)  # and 14 x 14
    config.sweep.seeds = (0, 1)

    config.train.epochs = 10
    config.train.optimizer = "sgd"
    config.train.learning_rate = 0.01
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 0.5
    config.train.weight_decay = 1e-4
    return config
