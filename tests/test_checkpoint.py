import hashlib
import json

import numpy as np
import pytest
import torch

from llmgym.errors import CheckpointError, ConfigError, OutputFolderError
from llmgym.files import replace_file, replacing
from llmgym.learning import load_checkpoint, save_checkpoint


def test_damaged_checkpoint_is_refused(tmp_path):
    save_checkpoint(tmp_path, {"weights": torch.arange(100)})
    (path,) = tmp_path.glob("state-*.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path)


def test_checkpoint_without_a_manifest_or_without_its_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, {"step": 1})
    next(tmp_path.glob("state-*.pt")).unlink()
    with pytest.raises(CheckpointError, match="is incomplete"):
        load_checkpoint(tmp_path)


def test_crash_while_writing_leaves_the_former_checkpoint_whole(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"step": 1})

    def crash(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("llmgym.files.os.fsync", crash)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(tmp_path, {"step": 2})
    assert load_checkpoint(tmp_path) == {"step": 1}

    save_checkpoint(tmp_path, {"step": 3})
    assert load_checkpoint(tmp_path) == {"step": 3}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_cannot_be_written_leaves_the_former_one_and_nothing_else(tmp_path):
    replace_file(tmp_path / "best.json", "former")

    def crash():
        with replacing(tmp_path / "best.json") as unfinished:
            unfinished.write_text("half of")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        crash()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("best.json", "former")]


def test_checkpoint_is_never_written_over_other_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")

    with pytest.raises(OutputFolderError, match=r"holds 'thesis\.tex'"):
        save_checkpoint(tmp_path, {"step": 1})


def test_state_that_could_not_be_loaded_safely_is_refused_when_saved(tmp_path):
    with pytest.raises(ConfigError, match=r"state\['rng'\]\[0\] is of type ndarray"):
        save_checkpoint(tmp_path, {"rng": [np.zeros(2)]})


class Malicious:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_checkpoint_is_never_executed(tmp_path, capsys):
    save_checkpoint(tmp_path, {"step": 1})
    (path,) = tmp_path.glob("state-*.pt")
    torch.save({"step": Malicious()}, path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(CheckpointError, match="was not written by"):
        load_checkpoint(tmp_path)
    assert capsys.readouterr().out == ""
