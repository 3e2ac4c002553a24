"""Images that a CSV table lists: other taxa, other hierarchies, medical ones too.

    python main.py --config=configs/csv_table.py --data_dir=/path/to/table.csv \
        --mode=train --rank=species

This is the recipe of the original study; without --config a table gets that of
configs/photos.py.

The header says what the columns are; this one has four ranks:

    path,region,organ,finding,diagnosis,x0,y0,x1,y1,mask,split
    scans/0001.png,thorax,lung,nodule,adenocarcinoma,31,40,96,112,masks/0001.png,train

`path` is relative to the table's folder; with --config.data.table=/path/to/table.csv
it is relative to --data_dir. Boxes are pixels unless --config.data.boxes says
otherwise, masks are images above 0 on the object; both may be left empty. `split` is
train, val or test; without the column the seed deals. `example_id` may give an image
another name than its path. Other columns are ranks if their names or values say so, and
the log lists them; --config.data.ranks="('organ','diagnosis')" chooses by hand.
docs/DATA.md has the rules.
"""

from . import default


def get_config():
    """Returns the experiment."""
    config = default.get_config()
    config.name = "csv_table"
    config.data.source = "csv_table"
    return config
