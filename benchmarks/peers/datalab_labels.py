"""cleanlab's Datalab on the vectors that planted_labels.py --vectors wrote; its venv's Python."""

import sys
import time

import numpy as np
from cleanlab import Datalab

found = np.load(sys.argv[1])
labels, right = found["labels"], found["right"]
used, own = np.unique(labels, return_inverse=True)
start = time.perf_counter()
lab = Datalab({"label": own.tolist()}, label_name="label", verbosity=0)
lab.find_issues(features=found["vectors"].astype(np.float32), issue_types={"label": {}})
table = lab.get_issues("label")
order = np.lexsort([table["label_score"], ~table["is_label_issue"]])
wrong = labels != right
firsts = " / ".join(str(int(wrong[order[:k]].sum())) for k in (30, 40, 60))
hits = order[:100][wrong[order[:100]]]
suggested = used[table["predicted_label"].to_numpy().astype(int)[hits]]
print(
    f"| Datalab | {firsts} of {wrong.sum()} | {(suggested == right[hits]).sum()} of {len(hits)} | "
    f"{int(table['is_label_issue'].sum())} | {time.perf_counter() - start:.1f} |"
)
