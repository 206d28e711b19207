"""models/: the manifest, names, publishing, and what a checkpoint's files say."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from datumaro_embed.errors import (
    MissingExtraError,
    ModelInvalidError,
    ModelNotFoundError,
    OutputFolderError,
    StoreExistsError,
    UsageError,
)
from datumaro_embed.exporting import export_model, pull_model
from datumaro_embed.files import new_path
from datumaro_embed.models import (
    CATALOGUE,
    Calibration,
    ImageSpec,
    ModelManifest,
    TextSpec,
    available_models,
    load_manifest,
    resolve_model,
    save_calibration,
)
from datumaro_embed.models.checkpoint import FAMILIES
from datumaro_embed.models.making import new_model_dir
from datumaro_embed.models.manifest import (
    IMAGE_FILES,
    MODEL_FILES,
    Golden,
    checked,
    sha256_file,
    write_manifest,
)

IMAGE = ImageSpec(80, "shortest_side", 80, "bicubic", 1 / 255, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
TEXT = TextSpec(77, 9, 9, False, ("input_ids", "attention_mask"))
CALIBRATION = Calibration(
    threshold=0.9, store="e.h5", n_images=500, copies={"resized": 0.98}, different=0.01
)
GOLDEN = Golden("ADwAAAAAAAA=", "a cat", "ADwAAAAAAAA=")


def write_model(folder: Path, **changes: Any) -> ModelManifest:
    """Write a complete model directory whose encoders are no encoders."""
    folder.mkdir(parents=True)
    for name in MODEL_FILES:
        (folder / name).write_text(name)
    facts: dict[str, Any] = {
        "name": "m",
        "source": "org/m",
        "revision": "abc",
        "licence": "MIT",
        "family": "clip",
        "dim": 4,
        "precision": "fp32",
        "image": IMAGE,
        "text": TEXT,
        "logit_scale": 100.0,
        "logit_bias": 0.0,
        "prompt_template": "a photo of a {}",
        "files": {name: sha256_file(folder / name) for name in MODEL_FILES},
        "golden": GOLDEN,
    }
    manifest = ModelManifest(**{**facts, **changes})
    write_manifest(folder, manifest)
    return manifest


@pytest.fixture
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty home without models of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.delenv("DATUMARO_EMBED_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --------------------------------------------------------------------------------------- manifest


def test_manifest_comes_back(tmp_path: Path) -> None:
    manifest = write_model(tmp_path / "m")
    assert load_manifest(tmp_path / "m") == manifest
    body = json.loads((tmp_path / "m" / "model.json").read_text())
    assert (body["format"], body["format_version"]) == ("datumaro-embed-model", 1)
    assert body["fingerprint"] == manifest.fingerprint


def test_a_model_without_a_text_encoder(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "whole")
    files = {name: whole.files[name] for name in IMAGE_FILES}
    golden = Golden(GOLDEN.image_vector)
    manifest = write_model(tmp_path / "m", text=None, files=files, golden=golden)
    for name in set(MODEL_FILES) - set(IMAGE_FILES):
        (tmp_path / "m" / name).unlink()
    body = json.loads((tmp_path / "m" / "model.json").read_text())
    assert load_manifest(tmp_path / "m") == manifest
    assert ("text" in body, set(body["golden"])) == (False, {"image_vector"})
    assert manifest.fingerprint != whole.fingerprint
    (tmp_path / "m" / "model.json").write_text(json.dumps({**body, "text": asdict(TEXT)}))
    with pytest.raises(ModelInvalidError, match=r"golden\.text_vector is not 4 numbers"):
        load_manifest(tmp_path / "m")


def test_unknown_keys_are_ignored(tmp_path: Path) -> None:
    manifest = write_model(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    assert load_manifest(tmp_path / "m") == manifest


def test_fingerprint_covers_files_and_preprocessing_and_nothing_else(tmp_path: Path) -> None:
    manifest = write_model(tmp_path / "m")
    same = [
        replace(manifest, name="x", source="y", revision="z", licence="", prompt_template="{}"),
        replace(manifest, files=dict(reversed(manifest.files.items()))),
    ]
    other = [
        *(replace(manifest, files={**manifest.files, name: "0" * 64}) for name in MODEL_FILES),
        replace(manifest, image=replace(IMAGE, mean=(0.5, 0.5, 0.4))),
        replace(manifest, image=replace(IMAGE, resample="bilinear")),
        replace(manifest, text=replace(TEXT, context_length=76)),
        replace(manifest, text=replace(TEXT, lower_case=True)),
    ]
    assert {m.fingerprint for m in same} == {manifest.fingerprint}
    assert len({m.fingerprint for m in [manifest, *other]}) == len(other) + 1


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_or_changed_file_is_named(tmp_path: Path, name: str) -> None:
    write_model(tmp_path / "m")
    (tmp_path / "m" / name).write_text("changed")
    with pytest.raises(ModelInvalidError, match=f"{name} cannot be used: its sha256"):
        load_manifest(tmp_path / "m")
    load_manifest(tmp_path / "m", verify_hashes=False)
    (tmp_path / "m" / name).unlink()
    for verify in (True, False):
        with pytest.raises(ModelInvalidError, match=f"{name} cannot be used: the file is missing"):
            load_manifest(tmp_path / "m", verify_hashes=verify)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": "other"}, "version 1, not"),
        ({"format_version": 2}, "version 2, not"),
        ({"dim": None}, "dim is None, not a whole number"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": 10**9}, "dim is 1000000000"),
        ({"dim": True}, "dim is True"),
        ({"dim": "512"}, "dim is '512'"),
        ({"dim": 512.0}, r"dim is 512\.0"),
        ({"image": {}}, "image has no 'size_px'"),
        ({"image": "x"}, "image is 'x', not a JSON object"),
        ({"text": {"context_length": 1}}, "text has no 'pad_id'"),
        ({"prompt_template": "none"}, "prompt_template"),
        ({"prompt_template": ["{}"]}, "prompt_template"),
        ({"files": {}}, "does not list"),
        ({"files": []}, "files is .*, not a JSON object"),
        (
            {"files": dict.fromkeys(MODEL_FILES, 7)},
            "files is .*7.*, with a value .* not a string",
        ),
        ({"files": dict.fromkeys([*MODEL_FILES, "../../x"], "")}, "not a file name"),
        ({"files": dict.fromkeys([*MODEL_FILES, "a\x1b[2Jb"], "")}, "not a file name"),
        ({"name": None}, "name is None"),
        ({"name": "\ud800"}, r"character '\\ud800'"),
        ({"source": {"a": [1]}}, "source is"),
        ({"family": "x" * 10**6}, "family is 'xxx.*, not one of clip"),
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"logit_scale": 1e308}, "logit_scale"),
        ({"logit_bias": float("nan")}, "logit_bias is nan, not a number >= -1000000"),
        ({"fidelity": [1]}, "fidelity"),
        ({"golden": None}, "golden is None, not a JSON object"),
        ({"fingerprint": "0" * 64}, "its fingerprint is not that of the files and settings"),
        ({"fingerprint": None}, "its fingerprint is not"),
        ({"image": {**asdict(IMAGE), "mean": [0, 0, 0]}}, "its fingerprint is not"),
    ],
    ids=str,
)
def test_a_damaged_manifest(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    write_model(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelInvalidError, match=why) as caught:
        load_manifest(tmp_path / "m")
    assert caught.value.path == path
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        *(("text", "context_length", v) for v in (10**12, 1e12, -1, 77.5, "77", True, None, [77])),
        *(("text", "pad_id", v) for v in (-1, 2**31, 1.0, None, False)),
        *(("text", "eos_id", v) for v in (-1, 10**30, "1")),
        *(("text", "lower_case", v) for v in (1, "yes", None)),
        *(("text", "inputs", v) for v in ("input_ids", [], [1], 7, ["input_ids"] * 2, ["x"])),
        *(("image", "size_px", v) for v in (1.5, 0, -80, 81, "80", True, None, 10**12)),
        *(("image", "resize_px", v) for v in (80.0, 10**9, {}, "80")),
        *(("image", "mean", v) for v in ([1e308] * 3, [0.5, 0.5], 0.5, ["0"] * 3, [True] * 3)),
        *(("image", "mean", [0, 0, v]) for v in (float("nan"), float("-inf"), None, [], 10**400)),
        *(("image", "std", [1, 1, v]) for v in (0, -1, 1e-300, float("inf"), "1")),
        *(("image", "scale", v) for v in (0, -1, float("nan"), 1e300, 1e-300, "1", None)),
        *(("image", "resize", v) for v in (None, ["stretch"], {"a": 1}, "squash", 1)),
        *(("duplicates", "threshold", v) for v in (0, -0.5, 1.01, float("nan"), "0.9", None, True)),
        *(("duplicates", "n_images", v) for v in (0, -1, 1.5)),
        *(
            ("duplicates", "copies", v)
            for v in (1, ["resized"], {"resized": 1.1}, {"resized": None})
        ),
        *(("duplicates", "different", v) for v in (-0.1, 1.1)),
    ],
    ids=repr,
)
def test_absurd_numbers_are_refused(tmp_path: Path, part: str, key: str, value: Any) -> None:
    write_model(tmp_path / "m", duplicates=CALIBRATION)
    path = tmp_path / "m" / "model.json"
    body = json.loads(path.read_text())
    body[part][key] = value
    path.write_text(json.dumps(body))
    with pytest.raises(
        ModelInvalidError,
        match=rf"model\.json cannot be used: {part}\.{key} is .*, (with a value that is )?not ",
    ):
        load_manifest(tmp_path / "m")


def test_a_manifest_of_garbage_is_one_error(tmp_path: Path) -> None:
    """Whatever stands in the place of a value is taken as it is, or is one error of ours."""
    garbage = [None, True, -1, 0, 1.5, 10**12, 1e308, float("nan"), "", "x", [], [[[]]], {}]
    write_model(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    whole = json.loads(path.read_text())
    outcomes = Counter()
    for name, value in product(sorted(whole), garbage):
        path.write_text(json.dumps({**whole, name: value}))
        try:
            load_manifest(tmp_path / "m")
            outcomes["taken"] += 1
        except ModelInvalidError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 4 * outcomes["taken"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"a": "\ud800"}', "[" * 100_000, " " * (1 << 24) + "{}", "9" * 5000],
    ids=lambda content: content[:9],
)
def test_a_manifest_that_is_no_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelInvalidError, match=r"model\.json"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"resize": "squeeze"},
        {"resample": "BICUBIC"},
        {"resize_px": 79},
        {"size_px": 0},
        {"std": (0.2, 0.0, 0.2)},
        {"mean": (0.5, 0.5)},
        {"scale": 0.0},
    ],
    ids=str,
)
def test_image_specs_that_mean_nothing(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r" is .*, (with a value that is )?not "):
        checked(ImageSpec, {**asdict(IMAGE), **change})


def test_fidelity_and_unknown_logits_come_back_and_are_no_identity(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain")
    other = write_model(
        tmp_path / "m", logit_scale=None, logit_bias=None, fidelity={"recall_at_10": 0.97}
    )
    assert load_manifest(tmp_path / "m") == other
    assert other.fingerprint == plain.fingerprint


def test_a_calibration_is_replaced_and_is_no_identity(tmp_path: Path) -> None:
    manifest = write_model(tmp_path / "m")
    for calibration in (CALIBRATION, replace(CALIBRATION, threshold=1.0)):
        save_calibration(tmp_path / "m", calibration)
        found = load_manifest(tmp_path / "m")
        assert found == replace(manifest, duplicates=calibration)
        assert found.fingerprint == manifest.fingerprint


def test_a_manifest_from_before_fidelity_loads(tmp_path: Path) -> None:
    manifest = write_model(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    body = json.loads(path.read_text())
    del body["fidelity"], body["duplicates"]
    path.write_text(json.dumps(body))
    assert load_manifest(tmp_path / "m") == manifest


# -------------------------------------------------------------------------------------- catalogue


LICENCES = {"MIT", "Apache-2.0", "apple-amlr", "DINOv3", "CC-BY-NC-4.0", "not stated"}


def test_the_catalogue() -> None:
    assert "clip-vit-base-patch32" in CATALOGUE
    for name, entry in CATALOGUE.items():
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert entry.repo_id or entry.checkpoint
        for repository in filter(None, (entry.repo_id, entry.checkpoint)):
            assert re.fullmatch(r"[\w-]+/[\w.-]+", repository)
        assert entry.revision is None or re.fullmatch(r"[0-9a-f]{40}", entry.revision)
        assert entry.licence in LICENCES
        assert entry.family in {*FAMILIES, "open_clip", "image"}
        assert entry.speed in {"fast", "medium", "slow", "very slow"}
        assert min(entry.dim, entry.size_px, entry.gigabytes) > 0
        assert entry.use
        assert (entry.family == "image") == (entry.languages == "no texts")


def test_the_table_in_the_docs_is_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    table = page.partition("### `pull`")[2].partition("###")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*?) \|$", table, flags=re.MULTILINE))
    assert set(rows) == set(CATALOGUE)
    for name, entry in CATALOGUE.items():
        cells = rows[name].split(" | ")
        repository = entry.repo_id or f"{entry.checkpoint} (export)"
        facts = [repository, (entry.revision or "main")[:8], entry.licence, str(entry.dim)]
        facts += [f"{entry.size_px} px", f"{entry.gigabytes:.1f} GB", entry.speed, entry.languages]
        assert cells == facts


# ------------------------------------------------------------------------------------------ names


def test_a_name_is_looked_for_in_order(no_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = no_models / "first", no_models / "second"
    cache = no_models / "cache" / "datumaro-embed" / "models"
    monkeypatch.setenv("DATUMARO_EMBED_MODELS", f"{first}:{second}")
    for folder in (cache, second, first):
        write_model(folder / "mine")
        assert resolve_model("mine") == folder / "mine"
    assert list(available_models()) == ["demo", "mine"]


def test_the_packaged_model_is_always_there(no_models: Path) -> None:
    (no_models / "demo").mkdir()  # a folder of that name is not a model
    assert load_manifest(resolve_model("demo")).dim > 0


@pytest.mark.parametrize("form", [str, Path])
def test_a_path_is_a_path(no_models: Path, form: Any) -> None:
    write_model(no_models / "here" / "mine")
    assert resolve_model(form("here/mine")) == Path("here/mine")
    assert resolve_model(form(no_models / "here" / "mine")) == no_models / "here" / "mine"


@pytest.mark.parametrize("name", ["no/such", "", "..\\x", "a\0b", "~none"])
def test_no_such_model_says_how_to_get_one(no_models: Path, name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"export-model .*try model demo") as caught:
        resolve_model(name)
    assert caught.value.name == name
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("clip-vit-base-patch32", "Get it with `datumaro-embed pull clip-vit-base-patch32`"),
        ("pe-core-b-16", "Get it with `datumaro-embed export-model pe-core-b-16 -o pe-core-b-16`"),
        ("dmeo", r"The nearest name is demo\. Download"),
        ("clip-vit-base-patch33", r"The nearest name is clip-vit-base-patch32\. Download"),
    ],
)
def test_a_known_name_that_is_not_here_names_the_command(
    no_models: Path, name: str, way: str
) -> None:
    with pytest.raises(ModelNotFoundError, match=way):
        resolve_model(name)


@pytest.mark.parametrize("name", ["a/b", "a"])
def test_a_folder_without_a_manifest(no_models: Path, name: str) -> None:
    (no_models / "a" / "b").mkdir(parents=True)
    with pytest.raises(ModelInvalidError, match=r"has no model\.json"):
        resolve_model(name)


# ------------------------------------------------------------------------------------- publishing


def test_publish(tmp_path: Path) -> None:
    with pytest.raises(OutputFolderError), new_path(tmp_path / "new" / "model", directory=True):
        pytest.fail("nothing may be made")
    (tmp_path / "new").mkdir()
    with new_path(tmp_path / "new" / "model", directory=True) as fresh:
        (fresh / "file").write_text("1")
        assert not (tmp_path / "new" / "model").exists()
    assert (tmp_path / "new" / "model" / "file").read_text() == "1"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["model"]


def test_a_failure_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    with new_path(tmp_path / "model", directory=True) as fresh:
        (fresh / "file").write_text("old")
    for error in (RuntimeError, KeyboardInterrupt):
        with suppress(error), new_path(tmp_path / "model", directory=True, replace=True) as fresh:
            (fresh / "file").write_text("new")
            raise error
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "file").read_text() == "old"


def test_the_old_directory_comes_back_if_the_new_one_cannot_be_renamed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "file").write_text("old")
    with (
        pytest.raises(OSError, match="No such file"),
        new_path(tmp_path / "model", directory=True, replace=True) as fresh,
    ):
        fresh.rmdir()
    assert (tmp_path / "model" / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_overwriting_removes_no_files_that_are_not_a_models(tmp_path: Path) -> None:
    target = tmp_path / "models"
    write_model(target / "mine")
    with (
        pytest.raises(StoreExistsError, match=r"do not belong to a model \(mine\).*another path"),
        new_model_dir(target, replace=True),
    ):
        pytest.fail("nothing may be made")
    with pytest.raises(StoreExistsError), new_model_dir(target / "mine", replace=True):
        (target / "mine" / "notes.txt").write_text("made meanwhile")
    assert (target / "mine" / "model.json").is_file()
    (target / "mine" / "notes.txt").rename(target / "mine" / "NOTICE")
    with new_model_dir(target / "mine", replace=True) as fresh:
        (fresh / "new").write_text("new")
    assert [p.name for p in (target / "mine").iterdir()] == ["new"]


def test_overwriting_is_asked_for(tmp_path: Path) -> None:
    for content, overwrite in (("one", False), ("two", True)):
        with new_path(tmp_path / "model", directory=True, replace=overwrite) as fresh:
            (fresh / content).write_text(content)
    with (
        pytest.raises(StoreExistsError, match="exists"),
        new_path(tmp_path / "model", directory=True),
    ):
        pytest.fail("nothing may be made")
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


# ----------------------------------------------------------------------------------------- export


def test_exporting_without_the_extra_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'datumaro-embed\[export\]'"):
        export_model("x", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int3"}, "^precision must be one of fp32, .*, not 'int3'"),
        ({"prompt_template": "a photo"}, "^The prompt template must contain {}.*not 'a photo'"),
    ],
)
def test_export_options_that_mean_nothing(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export_model("x", tmp_path / "out", **options)


def test_the_packaged_model_is_whole_and_names_its_licence() -> None:
    manifest = load_manifest(resolve_model("demo"))
    assert manifest.licence not in {"", "unknown"}
    total = sum((resolve_model("demo") / name).stat().st_size for name in manifest.files)
    assert total < 12 * 2**20


def test_a_copied_model_has_the_same_fingerprint(tmp_path: Path) -> None:
    demo = resolve_model("demo")
    shutil.copytree(demo, tmp_path / "copy")
    assert load_manifest(tmp_path / "copy").fingerprint == load_manifest(demo).fingerprint


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", r"`datumaro-embed models` lists the names.*, OWNER/NAME\.$"),
        ("CLIP-ViT-B-32", "The nearest is clip-vit-base-patch32"),
        ("siglip2", "The nearest is siglip"),
        ("", "OWNER/NAME"),
        ("/absolute", "OWNER/NAME"),
        ("org/", "OWNER/NAME"),
        ("./demo", "'./demo' is not a model that `pull` knows"),
        ("a/b/c", "OWNER/NAME"),
    ],
)
def test_a_name_that_is_no_model_is_refused_without_a_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, words: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelNotFoundError, match=words):
        pull_model(name, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
