"""A jar that is not the recorded one is named, and never used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import jars
from infra.local.errors import JarDamaged, JarsMissing, UnexpectedJars


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a set `tiny` of two recorded jars."""
    (tmp_path / "records").mkdir()
    lines = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in ("a.jar", "b.jar")]
    (tmp_path / "records" / "tiny.sha256").write_text("".join(lines))
    monkeypatch.setattr(jars, "RECORDS", tmp_path / "records")
    monkeypatch.setenv("LAKEHOUSE_CACHE", str(tmp_path / "cache"))
    jars.jar_paths.cache_clear()
    yield tmp_path / "cache"
    jars.jar_paths.cache_clear()


def serve(monkeypatch: pytest.MonkeyPatch, **content: str) -> None:
    """Let the repository answer with these files (name without `.jar` -> content)."""

    def resolve(set_name: str, temporary: Path) -> Path:
        (temporary / set_name).mkdir()
        for name, text in content.items():
            (temporary / set_name / f"{name}.jar").write_text(text)
        return temporary / set_name

    monkeypatch.setattr(jars, "_resolve", resolve)


def test_a_fetched_set_is_found_without_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, a="a.jar", b="b.jar")
    jars.fetch(["tiny"])
    monkeypatch.setattr(jars, "_resolve", None)
    jars.fetch(["tiny"])
    assert [path.name for path in jars.jar_paths("tiny")] == ["a.jar", "b.jar"]


def test_a_set_that_was_never_fetched_says_how_to_get_it(cache: Path) -> None:
    with pytest.raises(JarsMissing, match=r"'tiny' are not in .* Run `make setup`"):
        jars.jar_paths("tiny")


def test_a_changed_jar_is_named_and_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, a="a.jar", b="b.jar")
    jars.fetch(["tiny"])
    (jars.set_folder("tiny") / "b.jar").write_text("cut off")
    with pytest.raises(JarDamaged, match=r"1 jar\(s\) of the set 'tiny' .*: b\.jar\."):
        jars.jar_paths("tiny")
    jars.fetch(["tiny"])
    assert len(jars.jar_paths("tiny")) == 2


@pytest.mark.parametrize(
    ("served", "said"),
    [
        ({"a": "a.jar"}, r"\(missing: b\.jar\)"),
        ({"a": "a.jar", "b": "b.jar", "c": "c.jar"}, r"\(not recorded: c\.jar\)"),
        ({"a": "something else", "b": "b.jar"}, r"\(of another content: a\.jar\)"),
    ],
)
def test_other_jars_than_the_recorded_ones_are_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, served: dict[str, str], said: str
) -> None:
    serve(monkeypatch, **served)
    with pytest.raises(UnexpectedJars, match=said):
        jars.fetch(["tiny"])
    assert not jars.is_installed("tiny")
    assert list((cache / "jars").iterdir()) == []


def test_every_set_is_recorded_and_has_one_jar_of_each_name() -> None:
    for name in jars.SETS:
        files = list(jars.recorded(name))
        assert files, f"{name} has no recorded jars"
        assert len(set(files)) == len(files)


def test_the_spark_set_brings_nothing_that_pyspark_ships() -> None:
    shipped = ("jackson", "slf4j", "log4j", "netty", "scala-library", "hadoop-client")
    names = [*jars.recorded("spark"), *jars.recorded("s3")]
    clashes = [name for name in names if any(word in name for word in shipped) and not name.startswith("third-party")]
    assert [name for name in clashes if not name.startswith("netty-nio-client")] == []


def test_the_kafka_source_is_the_one_that_survives_a_crash() -> None:
    assert "spark-sql-kafka-0-10_2.13-4.1.3.jar" in jars.recorded("spark")
    assert "spark-token-provider-kafka-0-10_2.13-4.1.1.jar" in jars.recorded("spark")
