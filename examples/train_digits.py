"""Trains a small network on scikit-learn's bundled digits and logs it live: python examples/train_digits.py

Needs the client (pip install ./sdks/python), numpy and scikit-learn. A step takes about a millisecond, far too fast to
watch: --delay (seconds a step) stretches the default run to about 25 seconds. --delay 0 trains at full speed.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time

REQUIREMENTS = {"numpy": "numpy>=1.26", "sklearn": "scikit-learn>=1.5"}


def require(requirements: dict[str, str]) -> None:
    """Installs what is missing into a virtual environment; elsewhere it only says how."""
    missing = [package for module, package in requirements.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return
    if sys.prefix == sys.base_prefix:
        sys.exit(f"train_digits.py needs: python -m pip install {' '.join(map(repr, missing))}")
    print(f"Installing {', '.join(missing)} into {sys.prefix} …", flush=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True)  # noqa: S603
    importlib.invalidate_caches()


require(REQUIREMENTS)

import numpy as np  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

import runtide  # noqa: E402


class Network:
    """64 pixels → 64 ReLU → 10 classes, softmax and cross-entropy, SGD with momentum."""

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, int, int] = (64, 64, 10)) -> None:
        inputs, hidden, classes = sizes
        self.weights = [
            rng.normal(0, np.sqrt(2 / inputs), (inputs, hidden)),
            np.zeros(hidden),
            rng.normal(0, np.sqrt(1 / hidden), (hidden, classes)),
            np.zeros(classes),
        ]
        self.velocity = [np.zeros_like(weight) for weight in self.weights]

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w1, b1, w2, b2 = self.weights
        hidden = np.maximum(x @ w1 + b1, 0)
        scores = hidden @ w2 + b2
        scores -= scores.max(axis=1, keepdims=True)
        exp = np.exp(scores)
        return hidden, exp / exp.sum(axis=1, keepdims=True)

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Loss and accuracy."""
        return measure(self.forward(x)[1], y)

    def train(self, x: np.ndarray, y: np.ndarray, lr: float, momentum: float) -> tuple[float, float]:
        """One step on one minibatch; loss and accuracy from before it."""
        hidden, probabilities = self.forward(x)
        error = probabilities.copy()
        error[np.arange(len(y)), y] -= 1
        error /= len(y)
        back = (error @ self.weights[2].T) * (hidden > 0)
        gradients = [x.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
        for weight, velocity, gradient in zip(self.weights, self.velocity, gradients, strict=True):
            velocity *= momentum
            velocity -= lr * gradient
            weight += velocity
        return measure(probabilities, y)


def measure(probabilities: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    loss = -np.log(probabilities[np.arange(len(y)), y] + 1e-12).mean()
    return float(loss), float((probabilities.argmax(axis=1) == y).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="minibatches (default: 500)")
    parser.add_argument("--batch-size", type=int, default=64, help="digits a minibatch (default: 64)")
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate (default: 0.05)")
    parser.add_argument("--momentum", type=float, default=0.9, help="of SGD (default: 0.9)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and minibatches (default: 0)")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds to wait a step (default: 0.05)")
    args = parser.parse_args()

    digits = load_digits()
    x_train, x_val, y_train, y_val = train_test_split(
        digits.data / 16, digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    rng = np.random.default_rng(args.seed)
    network = Network(rng)

    with runtide.init(project="digits", config=args, tags=["example"]) as run:
        order = np.empty(0, dtype=int)
        for step in range(args.steps):
            if len(order) < args.batch_size:
                order = rng.permutation(len(x_train))
            batch, order = order[: args.batch_size], order[args.batch_size :]
            loss, accuracy = network.train(x_train[batch], y_train[batch], args.lr, args.momentum)
            metrics = {"train": {"loss": loss, "accuracy": accuracy}}
            if step % 10 == 0 or step == args.steps - 1:
                loss, accuracy = network.evaluate(x_val, y_val)
                metrics["val"] = {"loss": loss, "accuracy": accuracy}
            run.log(metrics, step=step)
            time.sleep(args.delay)
        _, final = network.evaluate(x_val, y_val)
        run.summary["accuracy"] = final
    print(f"Validation accuracy {final:.4f} after {args.steps} steps")
    if run.url:
        print(run.url)


if __name__ == "__main__":
    main()
