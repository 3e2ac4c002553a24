#!/usr/bin/env bash
# Guess: a fine-tuned DINOV2Backbone is the same after it is saved and read again.
# Instead: where the image is of another size than the stored position embeddings (the usual case: 224 px,
#   embeddings of 518), the network uses interpolated ones, which are trained, too. They are not in
#   the file: on loading they are interpolated anew from the embeddings that no training changes.
# Seen with: keras-hub 0.32.0, keras 3.15.1 on jax 0.10.2.
# Hits: DINOv2 fine-tuned and saved at any size but its own; outputs change without a word.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "keras==3.15.1" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6" \
    "regex==2026.11.19" "tokenizers==0.23.3" "kagglehub==1.0.2" "kagglesdk==0.1.28" \
    "sentencepiece==0.2.3"
"$work/venv/bin/pip" install --quiet --no-compile --no-deps --disable-pip-version-check \
    "keras-hub==0.32.0"
cd "$work"
cat > save.py <<'PY'
import keras
import keras_hub
import numpy as np

print("keras-hub", keras_hub.__version__, "keras", keras.__version__)
pictures = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")


keras.utils.set_random_seed(0)
net = keras_hub.models.DINOV2Backbone(
    8, 1, 16, 2, 32, image_shape=(32, 32, 3), position_embedding_shape=(64, 64)
)
head = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(net.output))
model = keras.Model(net.input, head)
model.compile(keras.optimizers.Adam(0.01), "mse")
used, stored = (
    net.embeddings.interpolated_position_embeddings,
    net.embeddings.position_embeddings,
)
first = [np.array(one) for one in (used, stored)]
model.fit(pictures, np.ones((2, 1)), epochs=10, verbose=0)
trained = [float(np.abs(np.asarray(a) - b).max()) for a, b in zip((used, stored), first)]
before = np.asarray(net(pictures))
net.save("net.keras")
again = keras.saving.load_model("net.keras")
after = np.asarray(again(pictures))
lost = float(np.abs(after - before).max())
again.embeddings.interpolated_position_embeddings.assign(used)
mended = float(np.abs(np.asarray(again(pictures)) - before).max())
print(f"moved by training: positions in use {trained[0]:.4f}, stored ones {trained[1]:.4f}")
print(f"largest change of an output after saving and loading: {lost:.4f}")
print(f"the same with the trained positions put back: {mended:.6f}")
assert trained[0] > 1e-4 and trained[1] == 0, trained
assert lost > 1e-4 and mended < 1e-6, (lost, mended)
PY
KERAS_HOME="$work" KERAS_BACKEND=jax "$work/venv/bin/python" -W ignore save.py
echo "ok: trained positions are lost where they are interpolated"
