"""A training's state after each epoch, kept in the store: no epoch is computed twice.

A training that was killed goes on where it was, one with more epochs goes on from the last of them, and another
patience chooses among epochs that are there. Equal arguments give equal weights to the bit. So a state is kept
under all that its epoch depends on: not how many epochs follow, nor which of them is chosen.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

import keras
import numpy as np

from stages.shared.store.results import Store

History = list[dict[str, float]]  # a row an epoch
State = list[np.ndarray]  # the values of all variables of a model or an optimizer


class Stopping(NamedTuple):
    """When a training ends, and which epoch it keeps."""

    epochs: int
    patience: int | None  # epochs without a lower validation loss; with None it keeps the last epoch

    def kept(self, history: History) -> int:
        """Return which epoch of `history` is kept, counted from 1."""
        return len(history) if self.patience is None else lowest(history)

    def is_over(self, history: History) -> bool:
        """Return whether no epoch follows those of `history`."""
        if len(history) >= self.epochs:
            return True
        return self.patience is not None and len(history) - lowest(history) >= self.patience


def lowest(history: History) -> int:
    """Return the first epoch with the lowest validation loss, counted from 1; 0 before the first."""
    losses = [row["validation_loss"] for row in history]
    return losses.index(min(losses)) + 1 if losses else 0


def take_state(of: keras.Model | keras.Optimizer) -> State:
    """Return what the variables of a model, those of its random numbers too, or of an optimizer hold."""
    return [variable.numpy() for variable in of.variables]


def put_state(of: keras.Model | keras.Optimizer, state: State) -> None:
    """Set the variables of a model or an optimizer."""
    for variable, value in zip(of.variables, state, strict=True):
        variable.assign(value)


class Checkpoints:
    """The states of a training of `model` with its compiled optimizer, `fingerprint` being all it depends on.

    Of an epoch that lowered the validation loss the model stays: another patience may choose it. Of the others
    the last alone stays, with its optimizer.
    """

    def __init__(self, store: Store, fingerprint: bytes, model: keras.Model) -> None:
        self.store, self.fingerprint, self.model = store, fingerprint, model
        self.resumed = 0  # epochs

    def resume(self, stopping: Stopping) -> tuple[History, State]:
        """Put model and optimizer where a training that ends as `stopping` says can go on, if it has to.

        Returns the history up to there and the model of the kept epoch, both empty where nothing is kept.
        """
        longest = self._read_history()
        over = (length for length in range(1, len(longest) + 1) if stopping.is_over(longest[:length]))
        for length in range(next(over, len(longest)), 0, -1):
            history = longest[:length]
            kept = self._read("model", stopping.kept(history), self.model)
            if kept and stopping.is_over(history):
                return history, kept
            model = self._read("model", length, self.model)
            optimizer = self._read("optimizer", length, self.model.optimizer)
            if kept and model and optimizer:
                put_state(self.model, model)
                put_state(self.model.optimizer, optimizer)
                self.resumed = length
                return history, kept
        return [], []

    def keep(self, history: History, state: State) -> None:
        """Keep the model's `state` after the last epoch of `history`, and the optimizer's."""
        epoch = len(history)
        values = {
            self._key("model", epoch): _pack(state),
            self._key("optimizer", epoch): _pack(take_state(self.model.optimizer)),
        }
        if epoch > len(self._read_history()):  # a run beside this one may be ahead
            values[self._key("history")] = json.dumps(history).encode()
        superseded = []
        if epoch - 1 > self.resumed:  # what a run before this one ended with stays
            superseded = ["optimizer"] if lowest(history[:-1]) == epoch - 1 else ["optimizer", "model"]
        self.store.write(values, instead_of=[self._key(kind, epoch - 1) for kind in superseded])

    def _read_history(self) -> History:
        """Return the longest history that is kept."""
        (stored,) = self.store.read([self._key("history")])
        return json.loads(stored) if stored else []

    def _key(self, kind: str, epoch: int = 0) -> bytes:
        return sha256(self.fingerprint + f"{kind} {epoch}".encode()).digest()

    def _read(self, kind: str, epoch: int, of: keras.Model | keras.Optimizer) -> State | None:
        """Return the state of a model or optimizer after `epoch`, None where it is not kept."""
        key = self._key(kind, epoch)
        (stored,) = self.store.read([key])
        if stored is None:
            return None
        self.store.mark_used([key, self._key("history")])  # without which it would not be found
        return list(_unpack(stored, take_state(of)))


def _pack(state: State) -> bytes:
    return b"".join(array.tobytes() for array in state)


def _unpack(stored: bytes, like: State) -> Iterable[np.ndarray]:
    """Yield arrays of the shapes and dtypes in `like`, in a row in `stored`."""
    place = 0
    for array in like:
        yield np.frombuffer(stored, array.dtype, array.size, place).reshape(array.shape)
        place += array.nbytes
