"""How a run ends: its result row, the model as it is, and the plan that made it."""

from __future__ import annotations

from collections.abc import Sequence

from flowprune.experiments.folder import RunFolder
from flowprune.experiments.parts import Parts, build_model
from flowprune.experiments.spec import Spec
from flowprune.plan import save
from flowprune.prune import Pruner
from flowprune.structure import measure_cost
from flowprune.train import EpochRecord, best_test, select


def finish(
    spec: Spec,
    folder: RunFolder,
    parts: Parts,
    pruner: Pruner | None,
    records: Sequence[EpochRecord],
    *,
    cut_at: int,
) -> None:
    """Write kind="result" and the plan of the model with its weights, then seal the folder with ``DONE``.

    Accuracy is reported twice: after the last epoch, and at the epoch after the last cut that the validation
    split chose. The test split chooses nothing; under ``reference_compat`` the best of its accuracies is told besides.
    """
    record = select(records, after=cut_at)
    cost = measure_cost(parts.model, parts.example_inputs)
    dense = measure_cost(build_model(spec, parts.dataset), parts.example_inputs)
    masks = pruner.masks if pruner else None
    folder.rows.append(
        {
            "kind": "result",
            "test_accuracy_final": record.test_accuracy_final,
            "test_accuracy_selected": record.test_accuracy_selected,
            "valid_accuracy_best": record.valid_accuracy_best,
            "selected_epoch": record.selected_epoch,
            **({"test_accuracy_best": best_test(records)} if spec.reference_compat else {}),
            "epochs": record.epochs,
            "train_seconds": record.train_seconds,
            "achieved_sparsity": masks.sparsity if masks is not None else 0.0,
            "parameters": cost.parameters,
            "parameters_dense": dense.parameters,
            "nonzeros": cost.nonzeros,
            "multiply_adds": cost.multiply_adds,
            "multiply_adds_live": cost.live_multiply_adds,
            "multiply_adds_dense": dense.multiply_adds,
            "bytes": cost.bytes,
            "bytes_dense": dense.bytes,
        }
    )
    save(pruner or parts.model, folder.path, seeds={"run": spec.seed})
    folder.finish()
