"""A stop, at any step, changes nothing; and what is damaged is said."""

from __future__ import annotations

import pytest

from mitosam.errors import ModelError, SettingsError, StorageError
from mitosam.training.checkpoint import read_checkpoint
from tests.full_disk import no_file_above
from tests.training.tiny_trainings import CORRECTING, Killer, equal, run, weights, without_seconds


@pytest.mark.parametrize("after", [0, 3, 4, 7, 11])
def test_a_killed_run_goes_on_to_the_same_weights_and_curve(tmp_path, undisturbed, after):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(after))
    model, result = run(tmp_path)
    assert equal(weights(model, "mask_decoder"), undisturbed[0])
    assert without_seconds(result.curve) == without_seconds(undisturbed[1].curve)
    assert (result.best_step, result.num_steps) == (undisturbed[1].best_step, 12)


def test_a_run_killed_many_times_comes_to_the_same_end(tmp_path, undisturbed):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, progress=Killer(5))
    model, result = run(tmp_path)
    assert equal(weights(model, "mask_decoder"), undisturbed[0])
    assert without_seconds(result.curve) == without_seconds(undisturbed[1].curve)


def test_a_run_killed_after_its_last_step_is_finished_without_another(tmp_path, undisturbed):
    run(tmp_path)
    model, result = run(tmp_path, progress=Killer(0))
    assert equal(weights(model, "mask_decoder"), undisturbed[0])
    assert without_seconds(result.curve) == without_seconds(undisturbed[1].curve)


def test_a_checkpoint_of_other_settings_or_data_is_refused_and_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, fingerprint="a", progress=Killer(5))
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(SettingsError, match=r"other settings or data; choose another --out"):
        run(tmp_path, fingerprint="b")
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, None])
def test_a_damaged_checkpoint_is_an_error_with_a_way_out(tmp_path, content):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(5))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(ModelError, match=r"is damaged .* remove it to train anew"):
        run(tmp_path)


def test_a_flipped_bit_of_the_last_checkpoint_costs_the_steps_since_the_one_before(
    tmp_path, undisturbed, caplog
):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(9))
    path, previous = (tmp_path / f"checkpoint{n}.safetensors" for n in ("", ".previous"))
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert previous.exists()
    model, _ = run(tmp_path)
    assert "going on from checkpoint.previous.safetensors" in caplog.text
    assert equal(weights(model, "mask_decoder"), undisturbed[0])


def test_what_was_gone_on_from_is_kept_until_the_next_checkpoint_is_whole(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(9))
    path, previous = (tmp_path / f"checkpoint{n}.safetensors" for n in ("", ".previous"))
    path.write_bytes(path.read_bytes()[:-3])
    kept = previous.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(5))
    assert "going on from checkpoint.previous.safetensors" in caplog.text
    assert previous.read_bytes() == kept
    assert read_checkpoint(path)[0]["step"] > read_checkpoint(previous)[0]["step"]


def test_two_damaged_checkpoints_are_an_error_that_names_both(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(9))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"remove checkpoint.safetensors and checkpoint\.prev"):
        run(tmp_path)


def test_a_kill_between_the_two_names_of_a_checkpoint_costs_nothing_but_steps(
    tmp_path, undisturbed
):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(9))
    (tmp_path / "checkpoint.safetensors").unlink()
    model, _ = run(tmp_path)
    assert equal(weights(model, "mask_decoder"), undisturbed[0])


def test_a_full_disk_stops_training_with_a_clear_error_and_keeps_the_last_state(
    tmp_path, undisturbed
):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(5))
    with no_file_above(10_000), pytest.raises(StorageError, match="free some space"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    model, _ = run(tmp_path)
    assert equal(weights(model, "mask_decoder"), undisturbed[0])


def test_going_on_with_no_time_left_adds_nothing_to_the_curve(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(5))
    _, result = run(tmp_path, seconds_left=0.0)
    assert [point.step for point in result.curve] == [4]
    assert result.stopped_by_budget


def test_a_killed_run_with_corrections_goes_on_to_the_same_weights(tmp_path):
    expected, _ = run(tmp_path / "undisturbed", settings=CORRECTING)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings=CORRECTING, progress=Killer(7))
    model, _ = run(tmp_path, settings=CORRECTING)
    assert equal(weights(model), weights(expected))
    assert equal(weights(model, "mask_decoder"), weights(expected, "mask_decoder"))
