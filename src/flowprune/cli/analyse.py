"""``flowprune analyse``: what gradient flow does to a model, and which measures agree on it."""

from __future__ import annotations

import typer

from flowprune.cli.options import Checkpoint, DataDir, Dataset, GranularityName, Model, Samples, Seed, Temperature


def analyse(
    *,
    model: Model = "digits_convnet",
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    checkpoint: Checkpoint = None,
    granularity: GranularityName = "channels",
    samples: Samples = 512,
    temperature: Temperature = 1.0,
    seed: Seed = 0,
) -> None:
    """Print the norm and its derivatives, predicted and measured, and how far the paper's measures agree."""
    from flowprune import analysis
    from flowprune.cli.data_folder import use_data_dir
    from flowprune.cli.subject import granularity_of, prepare
    from flowprune.cli.tables import agreement_table, flow_table
    from flowprune.experiments.recording import short_time
    from flowprune.measures import score
    from flowprune.signals import gather

    use_data_dir(data_dir)
    subject = prepare(model, dataset, checkpoint=checkpoint, samples=samples, temperature=temperature, seed=seed)
    needs = ("gradient", "hessian_gradient")
    signals = gather(subject.model, subject.objective, subject.batches, needs=needs)
    predicted = analysis.flow(signals)
    step = short_time(predicted, 1e-6)
    flow_table(predicted, analysis.measured_flow(subject.model, subject.objective, subject.batches, step=step))
    units = granularity_of(granularity, subject.example_inputs)
    agreement_table({name: score(name, signals, units) for name in PAPER})
    typer.echo("Agreement is Spearman's correlation over all units; overlap is of the units both keep at 75 % removed.")


PAPER = ("magnitude", "loss_preservation", "biased_loss", "gradient_norm_increase", "gradient_norm_preservation")
"""The measures of the gradient-flow paper."""
