#!/usr/bin/env bash
# Guess: saving and loading a model make the layers of the model and, once a process, one bare
#   Layer() for the list of attributes that are not walked, which is then remembered.
# Instead: the list is remembered under one key and looked up under another, so save makes
#   one more Layer() for each layer of the model, and load_model does so again, every time.
#   Keras 3.4.1 still remembered. The bare layers also use up the name "layer".
# Seen with: keras 3.6.0, 3.9.2, 3.12.0, 3.14.0 and 3.15.1 on jax 0.10.2.
# Hits: saving and loading of networks of hundreds of layers, names counted by keras.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check "$@"; }
pip "keras==3.4.1" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
cat > saving.py <<'PY'
import sys

import keras
from keras.layers import Dense, Layer

build = Layer.__init__


def made(work):
    """The number of bare Layer() that work makes."""
    bare = []

    def count(layer, *args, **options):
        bare.extend([1] if type(layer) is Layer else [])
        build(layer, *args, **options)

    Layer.__init__ = count
    try:
        work()
    finally:
        Layer.__init__ = build
    return len(bare)


model = keras.Sequential([keras.Input((2,))] + [Dense(2) for _ in range(50)])
model.save("first.keras")
saved = [made(lambda: model.save("m.keras")) for _ in range(2)]
loaded = [made(lambda: keras.models.load_model("m.keras")) for _ in range(2)]
name = Layer().name
print(f"keras {keras.__version__}, 50 layers: {saved} bare layers to save twice, "
      f"{loaded} to load twice; the first own Layer() is called {name}")
if sys.argv[1] == "remembers":
    assert saved == loaded == [0, 0], (saved, loaded)
else:
    assert min(saved + loaded) >= 50, (saved, loaded)
    assert int(name.split("_")[-1]) > 200, name
PY
run() { KERAS_HOME="$work" KERAS_BACKEND=jax "$work/venv/bin/python" -W ignore saving.py "$1"; }
run remembers
pip "keras==3.6.0"
run forgets
pip "keras==3.15.1"
run forgets
echo "ok: the list of attributes is made again for each layer"
