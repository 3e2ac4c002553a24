#!/usr/bin/env bash
# Guess: linprog with HiGHS costs what the solver costs, in every release with the same HiGHS.
# Instead: in SciPy 1.15.0 to 1.15.2 it takes 100 to 200 times as long as in 1.14.1 and in 1.15.3 for
#   the same small program and the same answer. The time is spent around the solver: it grows with
#   the size of the program, not with its difficulty. We met it as 6.3 s for 40 earth mover's
#   distances of 8 x 8 cells that take 0.06 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > solve.py <<'PY'
import time

import numpy as np
import scipy
from scipy.optimize import linprog
from scipy.sparse import kron, eye, vstack

# A transport between two sets of n points: n*n unknowns, 2n equations.
n = 40
rng = np.random.default_rng(0)
supply, demand = rng.dirichlet(np.ones(n), 2)
equations = vstack([kron(eye(n), np.ones((1, n))), kron(np.ones((1, n)), eye(n))])
equations = equations.tocsr()[:-1]
right = np.concatenate([supply, demand])[:-1]
costs = rng.random(n * n)
seconds = []
for _ in range(3):
    start = time.process_time()
    answer = linprog(costs, A_eq=equations, b_eq=right, method="highs")
    seconds.append(time.process_time() - start)
print(scipy.__version__, answer.status, f"{answer.fun:.9f}", f"{min(seconds):.4f}")
PY
for version in 1.14.1 1.15.0 1.15.2 1.15.3; do
  python3 -m venv --clear env
  env/bin/pip install -q --disable-pip-version-check "scipy==$version" "numpy==2.1.3"
  env/bin/python solve.py | tee -a seen
done
env/bin/python - <<'PY'
rows = [line.split() for line in open("seen")]
assert {row[1] for row in rows} == {"0"}
assert len({row[2] for row in rows}) == 1  # the answer is the same
seconds = {row[0]: float(row[3]) for row in rows}
for version in ("1.15.0", "1.15.2"):
    for other in ("1.14.1", "1.15.3"):
        ratio = seconds[version] / seconds[other]
        print(f"{version} takes {ratio:.0f} times as long as {other}")
        assert ratio > 5
print("as described: same answers, same solver, and only these releases are slow")
PY
