"""Scores and verdicts of cleanvision for quality.py: FOLDER OUT.csv, in a venv that has it.

cleanvision judges size against all pictures it is given, so it gets each kind with the good ones.
"""

import sys
from pathlib import Path

import pandas as pd
from cleanvision import Imagelab

folder, out = Path(sys.argv[1]), sys.argv[2]
good = [str(file) for file in sorted((folder / "good").glob("*.jpg"))]
tables: list[pd.DataFrame] = []
for kind in sorted(path for path in folder.iterdir() if path.name != "good"):
    lab = Imagelab(filepaths=good + [str(file) for file in sorted(kind.glob("*.jpg"))])
    wanted = (
        "dark",
        "light",
        "blurry",
        "low_information",
        "odd_aspect_ratio",
        "odd_size",
        "grayscale",
    )
    lab.find_issues({issue: {} for issue in wanted}, n_jobs=2, verbose=False)
    table = lab.issues
    table.insert(0, "file", [str(Path(file).relative_to(folder)) for file in table.index])
    tables.append(table if not tables else table[~table["file"].str.startswith("good/")])
pd.concat(tables).to_csv(out, index=False)
