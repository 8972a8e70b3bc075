"""Where the metrics of a run go beside `metrics.jsonl`: TensorBoard, W&B, MLflow, trackio, or a service of yours."""

from .tracker import Tracker, TrackerFactory, scalars

__all__ = ["Tracker", "TrackerFactory", "scalars"]
