"""fastdup's duplicates of a planted dataset at several thresholds; its venv's Python.

fastdup_duplicates.py /tmp/planted5: pairs that `similarity()` names, against the planted copies.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import fastdup

dataset = sys.argv[1]
truth = json.loads(Path(f"{dataset}_truth.json").read_text())
listed = [entry[:2] for kind in ("exact", "near", "leak") for entry in truth[kind]]
planted = {frozenset(pair) for pair in listed}
copies = [*truth["near"], *truth["leak"]]
crops = {frozenset(entry[:2]) for entry in copies if entry[2] == "crop"}
start = time.process_time()
with tempfile.TemporaryDirectory() as work:
    run = fastdup.create(input_dir=f"{dataset}/images", work_dir=work)
    run.run(overwrite=True, num_threads=2, threshold=0.8, nearest_neighbors_k=5)
    table = run.similarity()
first, second = ([Path(name).stem for name in table[f"filename_{side}"]] for side in ("from", "to"))
pairs = list(zip(map(frozenset, zip(first, second, strict=True)), table["distance"], strict=True))
for threshold in (0.8, 0.9, 0.94, 0.96, 0.98, 0.99):
    given = {pair for pair, value in pairs if value >= threshold and len(pair) == 2}
    found = given & planted
    print(
        f"| fastdup, from {threshold} | {len(given)} | {len(found) / max(1, len(given)):.2f}, "
        f"{len(found) / len(planted):.2f} | crops {len(found & crops)} of {len(crops)} |"
    )
print(f"{time.process_time() - start:.0f} s of processors")
