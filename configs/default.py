"""Every field of an experiment, with its unit and range; see also sections/.

The other files of this folder start from these values and change what differs. Any
field can be set on the command line: `--config.train.epochs=3`.
"""

from ml_collections import ConfigDict

from .sections import causes, curves, granularity, pretrain, study


def get_config() -> ConfigDict:
    """Returns the defaults, which a config file then changes."""
    config = ConfigDict()
    config.name = "default"  # names the folder of the runs
    config.seed = 0  # of split, shuffling, augmentation and initial weights
    config.runs_dir = "runs"  # parent of the run folders

    config.data = data = ConfigDict()
    data.source = "image_folder"  # a name in hiercam_keras/data/sources/__init__.py,
    # or auto: csv_table where a table is given; camtrap_dp, darwin_core, inaturalist or
    # coco where there is such a package, archive, export or file; else image_folder
    data.root = ""  # where the data are; --data_dir beats it
    data.keep_lineage = ""  # "Animalia/Chordata/Aves" leaves out all else; "": nothing
    data.parts = ()  # inat2021: folders to read; (): bird_train|train_mini|train, val
    data.manual_dir = ""  # cub200, tfds_birds: archives; "": downloads/manual in root
    data.table = ""  # csv_table: the CSV file; "": what data.root names or holds
    data.ranks = ()  # rank columns of a table; (): inferred from names and values
    data.lineages = ""  # image_folder: CSV with the column folder and one for each rank
    # camtrap_dp, darwin_core, inaturalist, coco: scientific_name in place of folder
    data.taxonomy = ""  # table of whole names in another taxonomy: avilist2025, a CSV
    # with name and the ranks, or with taxon,parent,rank; "": lineages as the data have
    data.taxonomy_ranks = ()  # of that table; (): all that it has
    data.common_names = "auto"  # auto: a column common_name or vernacularName, or what
    # an archive has | another column | a CSV of scientific_name and common_name | none
    data.language = "eng"  # of common names where there are several: eng or en, nld, ..
    data.max_unread_share = 0.05  # of a table's rows that may be left out for faults
    data.noun = "object"  # what pictures show, in sentences: "bird", "plant"
    data.homonyms = "error"  # error | keep: one species in two places, two spellings
    data.boxes = boxes = ConfigDict()  # of boxes.csv and of the table's columns
    boxes.convention = "auto"  # auto | xyxy | xywh; auto: by header and numbers
    boxes.units = "auto"  # auto | pixels | relative (shares of the image's sides)
    data.image_size = 224  # px, the side of the square that the model sees
    data.batch_size = 32  # images
    data.fractions = (0.78, 0.11, 0.11)  # train, val, test; they add up to 1
    data.untrained_taxa = "drop"  # drop | keep: taxa without a training image in heads
    data.partial = "keep"  # keep | drop: images identified only to a coarser rank
    data.split_seed = -1  # of the split alone; -1: the experiment's seed
    data.groups = ""  # images that stay in one split: "" (the source's own) | a column
    # of it | exif:60s (bursts: one camera, at most 60 s from image to image) | none
    data.near_copies = "apart"  # apart | together: images that look alike, in splits
    data.pipeline = "auto"  # auto (tf.data if it imports) | tfdata | arrays
    data.workers = 0  # threads or processes that read images; 0: one per core
    data.cache_dir = ""  # of indexes and converted images; "": the user's cache
    data.reduced_decode = True  # large JPEGs at 1/2, 1/4, 1/8 where that suffices
    data.cache_mb = 512  # decoded images kept in memory, if all of them fit
    data.disk_cache = ""  # of decoded images: "" (none) | auto | a folder
    data.sampling = "none"  # none | balanced | sqrt: how often a class is drawn
    data.sampling_rank = ""  # rank of the classes; "": the finest that is trained
    data.max_bad_share = 0.05  # share of files that may turn bad during a run
    data.choe = choe = ConfigDict()  # of source=choe: metadata as Choe et al. have them
    choe.metadata = ""  # folder with train/, val/, test/, or one of these
    choe.size_order = "auto"  # of image_sizes.txt: auto | wh | hw
    choe.box_order = "auto"  # of localization.txt: auto | xyxy | xxyy
    choe.lineages = ""  # CSV: folder, and a column a rank; "": the metadata's labels

    config.detections = detections = ConfigDict()  # boxes of animals, which are cropped
    detections.file = ""  # --detections: MegaDetector JSON, COCO JSON, Camtrap DP; ""
    detections.threshold = 0.2  # least confidence of an animal, 0..1
    detections.margin = 0.1  # on each side, share of the box's longer side

    config.augment = augment = ConfigDict()
    augment.horizontal_flip = True
    augment.vertical_flip = False  # doubtful for birds
    augment.crop_jitter = 1.0  # share of the resize's slack that random crops use
    augment.brightness = 0.2  # +- share; 0: off
    augment.contrast = 0.2  # +- share
    augment.saturation = 0.2  # +- share
    augment.hue = 0.0  # +- turns of the color circle
    augment.erasing_probability = 0.2  # of erasing one rectangle with random fill
    augment.erasing_area = (0.02, 0.33)  # of the erased rectangle, share of the image

    config.model = model = ConfigDict()
    model.backbone = "efficientnet_b0"  # a name in docs/MODELS.md, keras_hub:PRESET
    # (a folder or a name of keras-hub), or module:function
    model.modules = ()  # of yours, imported before a model with layers of yours is read
    model.preprocessing = "model"  # of --mode=import, what the file computes from RGB
    # of 0..255 itself: model (all) | caffe | tf | torch | unit (put in front of it)
    model.activation = "auto"  # of --mode=import, of the outputs: softmax | sigmoid
    model.output = ""  # of --mode=import, name or place of one output; "": all
    model.other = "leave_out"  # of --mode=import, outputs without lineage: or keep
    model.weights = "imagenet"  # none | imagenet | synthetic | auto | a file; imagenet
    # and auto are a preset's own weights
    model.output_stride = 32  # 32 | 16 | 8: image pixels per cell of the map
    model.dropout = 0.2  # before the head, 0..1
    model.drop_connect = 0.2  # of whole residual blocks, at the deepest, 0..1
    model.head_features = 0  # units of a hidden layer of each head; 0: none
    model.head_chain = "none"  # none | on | stop_gradient: finer heads see coarser ones
    model.bn_momentum = 0.99  # lower it for runs of a few hundred steps
    model.fast_layers = "auto"  # auto | none | kinds, as in depthwise+swish
    model.dtype = "float32"  # float32 | mixed_bfloat16; logits stay float32

    config.train = train = ConfigDict()
    train.epochs = 14
    train.optimizer = "adam"  # adam | adamw | sgd
    train.learning_rate = 1e-3  # at its peak
    train.schedule = "constant"  # constant | cosine
    train.warmup_epochs = 0.0  # linear, part of `epochs`
    train.weight_decay = 0.0  # decoupled; adamw and sgd
    train.class_weights = "none"  # none | balanced | sqrt: of the losses, per rank
    train.label_smoothing = 0.0  # 0..1
    train.reduce = "auto"  # auto | float32: type in which devices sum gradients; auto:
    # that of the compiler, in mixed precision on TPUs bfloat16 (docs/SCALING.md)
    train.clip_norm = 0.0  # of all gradients together; 0: not clipped
    train.ema_momentum = 0.0  # of averaged weights, which validate and are kept; 0: off
    train.warmup_frozen_epochs = 0.0  # only the heads learn in them; part of `epochs`
    train.backbone_rate = 1.0  # learning rate of the backbone, share of the heads'
    train.depth_rate = 1.0  # of its first layer, share of its last; others between
    train.mixup = 0.0  # alpha of Beta(alpha, alpha); 0: off
    train.cutmix = 0.0  # alpha; with both on a coin decides for each batch
    train.loss_weights = ()  # of the ranks in the order of --rank; (): 1 each
    train.hierarchical = "none"  # none | hxe | soft_labels, loss of the finest head
    train.hxe_alpha = 0.2  # 0: cross-entropy; larger: coarse steps count less
    train.soft_labels_beta = 10.0  # larger: nearer to one-hot labels
    train.consistency = 0.0  # weight of the divergence between heads (nats)
    train.filter_loss = 0.0  # weight of the interpretable-CNN loss on the CAM layer
    train.filter_targets = "all"  # all templates | category: the paper's approximation
    train.freeze_through = ""  # name of the last frozen layer; "": none
    train.reestimate_batches = 0  # that set the final BN statistics; 0: as trained
    train.checkpoint_minutes = 10.0  # between checkpoints, besides one an epoch
    train.checkpoint_steps = 0  # the same in steps; 0: by the clock alone
    train.checkpoint_keep = 3  # latest checkpoints that are kept, and the best
    train.keep_best = True  # model.keras is the epoch of the best val loss
    train.keep_best_images = 30  # least val images to choose by; fewer: the last epoch
    train.tensorboard = False  # needs the package tensorboard

    config.distribution = distribution = ConfigDict()
    distribution.devices = 0  # local devices that share each batch; 0: all of them

    config.cam = cam = ConfigDict()
    cam.method = "gradcam"
    cam.layer = ""  # "": the backbone's last activation
    cam.batch_size = 32  # images
    cam.precision = "auto"  # auto | default | high | highest: of float32 products in
    # answers and maps, as in JAX; auto: on TPUs what agrees with a CPU's to 1e-3
    cam.score = "auto"  # auto (the rank's own head) | marginal (the finest head)
    cam.num_overlays = 32  # pictures written with the maps; -1: all
    cam.overlay_format = "jpg"  # jpg | png

    config.predict = predict = ConfigDict()
    predict.format = "csv"  # csv | camtrap_dp: observations of the package in data_dir
    # | megadetector: the file of --detections with classifications

    config.localize = localize = ConfigDict()
    localize.metadata = ""  # folder as data.choe.metadata; "": the source's own truth
    localize.size_order = "auto"  # of its image_sizes.txt: auto | wh | hw
    localize.box_order = "auto"  # of its localization.txt: auto | xyxy | xxyy
    localize.images = ""  # folder of the metadata's images and masks; may stay empty
    localize.maps = ""  # a map store of whole images; "": computed from the run
    localize.val_maps = ""  # another one, on which the threshold is chosen
    localize.profile = "wsol"  # wsol | hiercam | pytorch_grad_cam: map to scores
    localize.size = 224  # px, the side of the maps that are scored
    localize.tolerance = 15.0  # px, of the pointing game
    localize.resamples = 10_000  # draws of taxa, as for every other interval
    localize.num_pictures = 12  # on the sheet

    config.compare = compare = ConfigDict()
    compare.num_images = 1000  # pictures on the page, drawn by the seed; -1: all
    compare.num_extreme = 12  # and as many of the most and the least agreeing ones
    compare.methods = ()  # further CAM methods, next to cam.method
    compare.faithfulness_images = 32  # by the seed; -1: all, 0: none. Dozens of passes

    config.faithfulness = faithfulness = ConfigDict()
    faithfulness.steps = 8  # of the deletion and insertion curves
    faithfulness.deletion_fill = "mean"  # mean | blur | random
    faithfulness.insertion_fill = "blur"  # on what the pixels appear; likewise
    faithfulness.road_shares = (0.3,)  # of the pixels that ROAD removes; (): no ROAD
    faithfulness.regions = 0  # taken one by one in three orders (AOPC); 0: no AOPC
    faithfulness.region_side = 9  # px
    faithfulness.region_fill = "random"  # likewise
    faithfulness.score = "probability"  # probability | log_odds
    faithfulness.min_range = 0.0  # least range that is normalized; 0: 0.1, or 0.5 nats

    config.sanity = sanity = ConfigDict()  # of --mode=cam: maps of random weights
    sanity.order = ""  # cascading (from the output down) | independent; "": none
    sanity.images = 32  # of the split, by the seed, held in memory; -1: all
    sanity.layers = ()  # layers to stop at; (): every one that has weights
    sanity.kind = "shuffle"  # shuffle (the values of each array) | normal

    config.search = search = ConfigDict()  # of --mode=cam --search, see docs/SEARCH.md
    search.layers = ()  # that are tried; (): the run's own and the ends of the stages
    search.methods = ()  # CAM methods; (): those of docs/SEARCH.md
    search.images = 128  # of the split, by the seed, with a box or mask first; -1: all
    search.faithfulness_images = 32  # of these, for insertion, deletion and random
    # weights: dozens of passes for each layer and method; -1: all, 0: none
    search.insensitive = 0.5  # least mean rank correlation with the maps of random
    # weights from which on a layer and method cannot be chosen, -1..1
    search.report = ""  # test: measures the choice on test afterwards; "": does not

    config.report = report = ConfigDict()
    # map: each map has a scale of heat of its own, from its smallest to its largest
    # value; row: maps of one network and head that are shown in a row share one, with a
    # color bar. A sure step has small values and is pale then: its gradient is 1 - P.
    report.scale = "map"

    config.coherence = coherence = ConfigDict()  # see docs/METRICS.md
    coherence.min_excess = 0.15  # of the energy on the object over chance: coherent
    coherence.max_stray = 0.05  # at or below: incoherent
    coherence.min_gain = 0.1  # of faithfulness over a random order: coherent
    coherence.max_loss = 0.0  # at or below: incoherent
    coherence.faithfulness_images = 32  # overlays with measured faithfulness; -1: all

    config.believe = believe = ConfigDict()  # how far down answers are believed
    believe.rule = "calibrated"  # by --mode=calibrate; or rollup: SpeciesNet's
    believe.accuracy = 0.9  # wanted share of right names at each rank
    believe.confidence_level = 0.9  # of the guarantee
    believe.calibration = 0.0  # share of val that training keeps apart for it
    # Least probability of the allowed taxa together, before other taxa are left out,
    # of an answer with a believed name; of calibrated runs it is that of calibrate.
    believe.allowed_share = 0.5

    config.guide = guide = ConfigDict()
    guide.layer = "auto"  # auto: one in the middle, by the backbone; "": the last one
    guide.method = "layercam"  # --method and --config.cam.layer beat these two
    guide.patch = 0.3  # side of a patch over that of the model's picture, 0..1
    guide.num_patches = 12  # of a taxon
    guide.num_siblings = 3  # shown next to it, the nearest first
    guide.num_sibling_patches = 6

    config.study = study.get_config()
    config.curves = curves.get_config()
    config.sweep = granularity.get_config()
    config.causes = causes.get_config()
    config.pretrain = pretrain.get_config()
    return config
