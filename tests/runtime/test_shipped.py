"""Models that are a part of mien: there without a fetch, checked, preferred last, never removed."""

from __future__ import annotations

import hashlib
import json
import logging
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

import mien
import shipping
from mien.core.card import CARD_KEY, Output
from mien.core.errors import CardError, DamagedModel, FetchError, ModelMissing, PartOfMien, UnknownField
from mien.runtime import api, assets
from mien.runtime.model import Model
from mien.runtime.pipeline import Options, Pipeline

Pixels = npt.NDArray[np.uint8]
HERE = assets.folder()
NEW = ("expression", "age", "age_interval", "gender")


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a package that ships two stand-ins, in the place of mien's own."""
    made = shipping.package(tmp_path / "package", shipping.expression_card(), shipping.age_card())
    monkeypatch.setattr(assets, "package", lambda: made)
    return made


@pytest.fixture
def empty(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model folder without a model."""
    monkeypatch.setenv(assets.MODELS, str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def store(empty: Path) -> Path:
    """Return a model folder that holds what finds faces, and what a test may add to."""
    empty.mkdir()
    for name in ("centerface", "face-mesh"):
        for ending in ("onnx", "json"):
            (empty / f"{name}.{ending}").symlink_to(HERE / f"{name}.{ending}")
    return empty


def own(store: Path, card_name: str = "mine") -> str:
    """Add an expression model of the user's and return its maker's name."""
    card = shipping.expression_card(card_name, "7", commercial=True)
    file = store.parent / "brought.onnx"
    file.write_bytes(shipping.graph(card))
    assets.add(file, card)
    return card.maker


# ---- the real package


def test_every_model_in_the_package_is_the_one_of_the_table_with_its_card_inside() -> None:
    rows = {row.shipped: row for row in assets.table().values() if row.shipped}
    files = sorted((assets.package() / "models").glob("*.onnx"))
    assert sorted(rows) == files
    for file in files:
        data, row = file.read_bytes(), rows[file]
        assert hashlib.sha256(data).hexdigest() == row.sha256, f"{row.name}: put this sum into assets.toml"
        assert row.default
        assert len(data) < 3_100_000
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        inside = session.get_modelmeta().custom_metadata_map[CARD_KEY]
        assert inside == row.card.to_json(), f"{row.name}: export it again, its card has changed since"


# ---- the store


def test_they_are_here_and_whole_though_nothing_was_fetched(empty: Path, whole: Path) -> None:
    assert [entry.card.name for entry in assets.installed()] == ["expression", "age-gender"]
    assert all(entry.shipped and entry.default for entry in assets.installed())
    assert assets.state("expression") == "shipped"
    assets.verify("expression")
    assert assets.model_path("expression") == whole / "models" / "expression.onnx"
    assert assets.get("expression") == assets.model_path("expression")
    assert Model.load("expression").card == shipping.expression_card()
    assert not empty.exists(), "nothing is copied"


def test_one_changed_byte_is_noticed_and_the_command_mends_the_installation(empty: Path, whole: Path) -> None:
    file = whole / "models" / "expression.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert assets.state("expression") == "damaged"
    for use in (assets.verify, Model.load, assets.get):
        with pytest.raises(DamagedModel, match="pip install --force-reinstall"):
            use("expression")
    file.unlink()
    assert assets.state("expression") == "absent"
    with pytest.raises(ModelMissing, match="pip install --force-reinstall"):
        Model.load("expression")


def test_they_cannot_be_removed_but_what_took_their_place_can(store: Path, whole: Path) -> None:
    with pytest.raises(PartOfMien, match="--model puts another"):
        assets.remove("expression")
    own(store, "expression")
    assert assets.state("expression") == "ready"
    assert assets.model_path("expression") == store / "expression.onnx"
    assert [entry.shipped for entry in assets.installed() if entry.card.name == "expression"] == [False]
    assert Pipeline(Options(want=("expression",))).makers["expression"] == "expression 7"
    assets.remove("expression")
    assert assets.state("expression") == "shipped"
    assert (whole / "models" / "expression.onnx").is_file()


def test_permissive_terms_hide_and_refuse_them(empty: Path) -> None:
    assert assets.installed(terms="permissive") == []
    with pytest.raises(CardError, match="not permissive"):
        assets.get("expression", terms="permissive")


def test_a_bundle_holds_them_when_they_are_named_and_gives_them_to_a_mien_without(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert assets.bundle(tmp_path / "usual.tar") == ["centerface", "face-mesh"]
    bundle = tmp_path / "all.tar"
    assert assets.bundle(bundle, ["expression", "centerface"]) == ["expression", "centerface"]
    with tarfile.open(bundle) as archive:
        assert sorted(archive.getnames()) == sorted(
            f"{name}.{ending}" for name in ("expression", "centerface") for ending in ("json", "onnx")
        )
    monkeypatch.setenv(assets.MODELS, str(tmp_path / "other"))
    assert assets.from_bundle(bundle) == ["centerface", "expression"]
    assert sorted(path.name for path in (tmp_path / "other").glob("*.onnx")) == ["centerface.onnx"]
    assert assets.state("expression") == "shipped"
    older = shipping.package(tmp_path / "older")
    monkeypatch.setattr(assets, "package", lambda: older)
    assert assets.state("expression") == "absent"
    assets.from_bundle(bundle)
    assert assets.state("expression") == "ready"
    assert Model.load("expression").card == shipping.expression_card()


def test_a_bundle_s_shipped_model_is_checked_like_the_others(store: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "all.tar"
    assets.bundle(bundle, ["expression"])
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b"expression.slope", b"expression.slopf"))
    with pytest.raises(FetchError, match="SHA-256"):
        assets.from_bundle(bundle)


# ---- the pipeline


def test_they_answer_by_default_and_in_batches_as_one_by_one(store: Path, astronaut: Pixels) -> None:
    pipeline = Pipeline(Options(threads=1))
    assert set(NEW) <= set(pipeline.fields)
    assert pipeline.makers["expression"] == "expression 1"
    assert {pipeline.makers[field] for field in NEW[1:]} == {"age-gender 1"}
    two = np.concatenate([astronaut, astronaut[:, ::-1] // 2], axis=1)
    alone = [pipeline.analyze(picture) for picture in (astronaut, two)]
    together = pipeline.analyze_many([astronaut, two])
    assert [len(faces) for faces in alone] == [1, 2]
    for one, same in zip(alone, together, strict=True):
        for field in NEW:
            assert np.allclose(getattr(one, field), getattr(same, field), atol=1e-4)
    faces = alone[1]
    assert faces.expression is not None
    assert faces.age is not None
    assert faces.age_interval is not None
    assert np.allclose(faces.expression.sum(axis=1), 1, atol=1e-5)
    assert abs(float(faces.age[0] - faces.age[1])) > 3, "the darker face is another one to the stand-in"
    assert np.all((faces.age_interval[:, 0] < faces.age) & (faces.age < faces.age_interval[:, 1]))
    assert faces.labels("expression")[0] == "neutral"


def test_a_model_of_the_user_s_goes_before_the_one_that_ships(store: Path) -> None:
    maker = own(store)
    for want in (None, ("expression",)):
        pipeline = Pipeline(Options(want=want, threads=1))
        assert pipeline.makers["expression"] == maker
        assert "expression 1" not in [model.card.maker for model in pipeline.models()]
    assert Pipeline(Options(models=("expression",))).makers["expression"] == "expression 1"


def test_an_interval_comes_of_the_model_that_made_the_age(store: Path) -> None:
    card = replace(shipping.age_card("birthday", commercial=True), makes=(Output("age"),))
    file = store.parent / "brought.onnx"
    file.write_bytes(shipping.graph(card))
    assets.add(file, card)
    pipeline = Pipeline(Options(threads=1))
    assert pipeline.makers["age"] == "birthday 1"
    assert "age_interval" not in pipeline.fields
    assert pipeline.makers["gender"] == "age-gender 1"
    with pytest.raises(UnknownField, match="birthday 1 makes 'age' and none to go with it"):
        Pipeline(Options(want=("age_interval",)))
    both = Pipeline(Options(want=("age_interval",), models=("age-gender",)))
    assert both.makers["age_interval"] == "age-gender 1"
    assert both.fields == ("boxes", "scores", "age_interval")


def test_permissive_terms_leave_them_out_and_say_so(store: Path) -> None:
    pipeline = Pipeline(Options(terms="permissive"))
    assert not set(NEW) & set(pipeline.fields)
    assert pipeline.research_only() == []
    assert [card.name for card in pipeline.left_out()] == ["expression", "age-gender"]
    everything = Pipeline(Options())
    assert [card.name for card in everything.research_only()] == ["expression", "age-gender"]
    assert everything.left_out() == []
    assert Pipeline(Options(want=("boxes",), terms="permissive")).left_out() == []
    with pytest.raises(UnknownField, match="expression 1 would, but not for commercial use"):
        Pipeline(Options(want=("expression",), terms="permissive"))


def test_nothing_is_left_out_where_a_free_model_takes_its_place(store: Path) -> None:
    own(store)
    pipeline = Pipeline(Options(terms="permissive"))
    assert pipeline.makers["expression"] == "mine 7"
    assert [card.name for card in pipeline.left_out()] == ["age-gender"]


@pytest.mark.parametrize(
    ("field", "command"),
    [
        ("irises", "run `mien models get iris`"),
        ("embeddings", "run `mien models get dlib-resnet`"),
        ("landmarks68", "run `mien models add FILE --card landmarks68-peppa`"),
    ],
)
def test_a_wanted_field_whose_model_is_not_here_names_the_command(
    field: str, command: str, store: Path
) -> None:
    with pytest.raises(UnknownField) as caught:
        Pipeline(Options(want=(field,)))
    assert str(caught.value).endswith(command)


def test_every_command_that_a_field_takes_is_named(store: Path) -> None:
    for ending in ("onnx", "json"):
        (store / f"face-mesh.{ending}").unlink()
    with pytest.raises(UnknownField) as caught:
        Pipeline(Options(want=("irises",)))
    assert "`mien models get iris`" in str(caught.value)
    assert "`mien models get face-mesh`" in str(caught.value)


def test_the_library_says_once_which_models_are_not_for_commercial_use(
    store: Path, astronaut: Pixels, caplog: pytest.LogCaptureFixture
) -> None:
    api._say_terms.cache_clear()
    with caplog.at_level(logging.WARNING, "mien"):
        mien.analyze(astronaut, want=["expression"], threads=1)
        mien.analyze(astronaut, want=["expression"], threads=1)
        assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["expression 1"]
        caplog.clear()
        api._say_terms.cache_clear()
        mien.analyze(astronaut, want=["expression"], models=["expression"], threads=1)
        mien.analyze(astronaut, want=["landmarks"], threads=1)
        assert caplog.records == []


def test_cards_may_say_their_limits() -> None:
    card = shipping.expression_card()
    assert json.loads(card.to_json())["limits"] == shipping.LIMITS
    assert type(card).from_json(card.to_json()) == card
