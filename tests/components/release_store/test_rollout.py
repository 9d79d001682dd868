"""Which releases are served and under which labels: pushes, rollback, promotion, canaries."""

import pytest

from components.release_store import folder as folder_store
from components.release_store.release import SERVED, StoreError
from tests.fixtures.release_checks import check_pointers, visible
from tests.fixtures.served_versions import changed, models_in


@pytest.fixture
def store(tmp_path):
    return tmp_path / "serving"


def test_models_config_is_what_tensorflow_serving_reads(store, candidate):
    for label in ("stable", "stable", "stable", "canary"):
        folder_store.publish(store, candidate, {}, label=label)
    models = models_in((store / "models.config").read_text())
    assert sorted(models) == sorted(SERVED)
    for name, model in models.items():
        assert model.base_path == str(store / name)
        assert model.model_platform == "tensorflow"
        assert list(model.model_version_policy.specific.versions) == [2, 3, 4]
        assert dict(model.version_labels) == {"stable": 3, "canary": 4}


def state(store):
    """stable, canary, all that is loaded; and the pointer for readers agrees."""
    served = folder_store.served(store)
    assert folder_store.latest(store).version == served.stable
    check_pointers(store)
    return served.stable, served.canary, served.versions


def test_rollback_moves_both_pointers_and_nothing_else(store, candidate):
    folder_store.publish(store, candidate, {})
    folder_store.publish(store, candidate, {})
    before = visible(store)
    assert folder_store.promote(store, 1).version == 1
    after = visible(store)
    assert {name for name in after if after[name] != before.get(name)} == {
        "models.config",
        "releases/latest.json",
    }
    # A higher version that stayed would answer those who name none.
    assert state(store) == (1, None, (1,))
    assert folder_store.promote(store, 2).version == 2
    assert visible(store) == before
    with pytest.raises(StoreError, match=r"no release 9 in .*; there are: 1, 2"):
        folder_store.promote(store, 9)


def test_the_release_before_stays_served(store, candidate):
    states = []
    for _ in range(3):
        folder_store.publish(store, candidate, {})
        states.append(state(store))
    assert states == [(1, None, (1,)), (2, None, (1, 2)), (3, None, (2, 3))]
    folder_store.promote(store, 1)
    folder_store.publish(store, candidate, {})
    assert state(store) == (4, None, (1, 4))
    folder_store.promote(store, 4)  # as it is already
    assert state(store) == (4, None, (1, 4))


def test_a_canary_is_released_beside_the_stable_one_and_promoted(store, candidate):
    folder_store.publish(store, candidate, {}, label="canary")
    assert state(store) == (1, None, (1,))  # the first of a store
    folder_store.publish(store, candidate, {})
    folder_store.publish(store, candidate, {}, label="canary")
    assert state(store) == (2, 3, (1, 2, 3))
    folder_store.publish(store, candidate, {}, label="canary")
    assert state(store) == (2, 4, (1, 2, 4))
    folder_store.promote(store, 4)
    assert state(store) == (4, None, (2, 4))


def test_what_ends_a_canary(store, candidate):
    for _ in range(3):
        folder_store.publish(store, candidate, {})
    for version, how, after in [
        (1, lambda: folder_store.set_canary(store, None), (3, None, (2, 3))),
        (2, lambda: folder_store.set_canary(store, None), (3, None, (2, 3))),
        (1, lambda: folder_store.promote(store, 3), (3, None, (2, 3))),
        (1, lambda: folder_store.publish(store, candidate, {}), (4, None, (3, 4))),
        (2, lambda: folder_store.promote(store, 3), (3, None, (3,))),
    ]:
        now = folder_store.served(store)
        served = folder_store.set_canary(store, version)
        assert (served.stable, served.canary) == (now.stable, version)
        assert set(served.versions) == {*now.versions, version}
        how()
        assert state(store) == after


def test_a_canary_that_cannot_be(store, candidate):
    for version in (1, None):
        with pytest.raises(StoreError, match="no release is served from"):
            folder_store.set_canary(store, version)
    assert not store.exists()
    folder_store.publish(store, candidate, {})
    folder_store.publish(store, candidate, {})
    before = visible(store)
    with pytest.raises(StoreError, match="release 2 is the stable one"):
        folder_store.set_canary(store, 2)
    with pytest.raises(StoreError, match=r"no release 9 in .*; there are: 1, 2"):
        folder_store.set_canary(store, 9)
    (store / "decode/1/saved_model.pb").write_bytes(b"other")
    with pytest.raises(StoreError, match=r"release 1 in .* is damaged"):
        folder_store.set_canary(store, 1)
    (store / "decode/1/saved_model.pb").write_bytes(before["decode/1/saved_model.pb"])
    assert visible(store) == before


def test_a_store_of_before_there_were_labels(store, candidate):
    for _ in range(2):
        folder_store.publish(store, candidate, {})
    path = store / "models.config"

    def as_it_was(model):
        unlabelled(model)
        model.model_version_policy.specific.versions[:] = [2]

    path.write_text(changed(path.read_text(), as_it_was))
    assert state(store) == (2, None, (2,))
    folder_store.publish(store, candidate, {})
    assert state(store) == (3, None, (2, 3))


def unlabelled(model):
    model.version_labels.clear()  # two versions, and nobody knows which


def without_versions(model):
    del model.model_version_policy.specific.versions[:]


def label_of_another(model):
    model.version_labels["stable"] = 3


@pytest.mark.parametrize("change", [without_versions, label_of_another, unlabelled, None])
def test_models_config_that_names_no_release_is_mended_by_naming_one(store, candidate, change):
    for _ in range(2):
        folder_store.publish(store, candidate, {})
    path = store / "models.config"
    path.write_text(changed(path.read_text(), change) if change else path.read_text()[:-40])
    for call in (
        lambda: folder_store.publish(store, candidate, {}),
        lambda: folder_store.prune(store, 1),
        lambda: folder_store.set_canary(store, 1),
    ):
        with pytest.raises(StoreError, match=r"models\.config: names no release.*promote VERSION"):
            call()
    assert folder_store.versions(store) == [1, 2]
    folder_store.promote(store, 2)
    assert state(store) == (2, None, (2,))
