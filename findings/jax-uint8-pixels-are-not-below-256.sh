#!/usr/bin/env bash
# Guess: a comparison with a Python number is exact, as in NumPy: every uint8 is < 256 and > -1,
#   none equals 300; what does not fit is refused (NumPy 2 raises OverflowError for x + 300).
# Instead: the number is first wrapped into the array's dtype. `pixels < 256` is False for all
#   256 values, `pixels > -1` too, `labels == 300` finds class 44, `labels != -1` drops class 255,
#   and jnp.clip(x, 0, 300) cuts at 44. With jnp.int8, x < 200 is never true. No warning, while
#   jnp.asarray(300, jnp.uint8) raises, and so does a number beyond int32 for an int32 array.
# Seen with: jax 0.7.0, 0.10.2 and 0.12.0.1, NumPy 2.4.6 as the reference; eager and in jit.
# Hits: masks and label maps in uint8 moved from NumPy to JAX: thresholds at 256, ignore index -1,
#   ids beyond 255.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'EOF'
import jax
import jax.numpy as jnp
import numpy as np

print("jax", jax.__version__, "numpy", np.__version__)
questions = {
    "how many of 0 .. 255 are < 256": lambda xp, x: int((x < 256).sum()),
    "how many are > -1": lambda xp, x: int((x > -1).sum()),
    "how many equal 300": lambda xp, x: int((x == 300).sum()),
    "how many are not -1": lambda xp, x: int((x != -1).sum()),
    "largest after clip(x, 0, 300)": lambda xp, x: int(xp.clip(x, 0, 300).max()),
    "how many are < 256.0": lambda xp, x: int((x < 256.0).sum()),
}
answers = {}
for title, question in questions.items():
    row = (
        question(np, np.arange(256, dtype=np.uint8)),
        question(jnp, jnp.arange(256, dtype=jnp.uint8)),
    )
    answers[title] = row
    print(f"{title:32} NumPy {row[0]:3}  JAX {row[1]:3}")
jitted = int(jax.jit(lambda x: (x < 256).sum())(jnp.arange(256, dtype=jnp.uint8)))
try:
    refused = jnp.asarray(300, jnp.uint8)
except OverflowError as error:
    refused = error
print("in jit:", jitted, " jnp.asarray(300, jnp.uint8):", repr(refused))

if list(answers.values()) != [(256, 0), (256, 0), (0, 1), (256, 255), (255, 44), (256, 256)]:
    raise SystemExit(f"changed: {answers}")
if jitted != 0 or not isinstance(refused, OverflowError):
    raise SystemExit(f"changed: {jitted}, {refused!r}")
EOF
