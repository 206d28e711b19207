"""fastdup's outliers of a planted dataset, as planted_outliers.py counts; its venv's Python."""

import json
import sys
import tempfile
import time
from pathlib import Path

import fastdup

dataset = sys.argv[1]
truth = json.loads(Path(f"{dataset}_truth.json").read_text())
strangers = {name for name, _ in truth["outlier"]}
broken = {entry[0] for entry in truth["corrupt"]}
start = time.perf_counter()
with tempfile.TemporaryDirectory() as work:
    run = fastdup.create(input_dir=f"{dataset}/images", work_dir=work)
    run.run(overwrite=True, num_threads=2)
    table = run.outliers().sort_values("distance", kind="stable")
names = dict.fromkeys(Path(name).stem for name in table["filename_outlier"])
order = [name for name in names if name not in broken]
firsts = " / ".join(str(len(strangers & set(order[:k]))) for k in (20, 30, 40))
print(f"| fastdup | {firsts} of {len(strangers)} | {time.perf_counter() - start:.0f} s")
